"""Templates in general: which ids a conversation becomes, and what a user cannot smuggle in."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import vocabularies

from localmix import tokenizer
from localmix.errors import FileFormatError, LocalmixError
from localmix.template import ChatTemplate, Message
from localmix.tokenizer import Tokenizer

CHATML = vocabularies.CHATML_TEMPLATE
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
TALK = [
    Message("system", "Be brief."),
    Message("user", "Hi"),
    Message("assistant", "Hello!"),
    Message("user", "What is 12 + 7?"),
]


def chatml() -> ChatTemplate:
    return ChatTemplate(CHATML, vocabularies.tokenizer_of("smollm"))


@pytest.mark.parametrize(("source", "name"), [(CHATML, "smollm"), (CHATML, "qwen2"), (LLAMA3, "llama-bpe")])
@pytest.mark.parametrize("opened", [True, False])
def test_the_ids_are_those_of_the_printed_text(source: str, name: str, opened: bool) -> None:
    tok = vocabularies.tokenizer_of(name)
    template = ChatTemplate(source, tok)
    printed = template.render(TALK, add_generation_prompt=opened)
    assert printed.endswith("assistant<|end_header_id|>\n\n" if "header" in source else "assistant\n") is opened
    assert template.encode(TALK, add_generation_prompt=opened) == tok.encode(printed, bos=False, control=True)


def smuggled(rng: random.Random, tok: Tokenizer) -> str:
    """Text with control tokens in it, whole, cut, doubled, nested and beside private-use characters."""
    names = list(tok.control_tokens)
    parts = []
    for _ in range(rng.randrange(1, 6)):
        name = rng.choice(names)
        cut = rng.randrange(len(name))
        inside = name[:cut] + rng.choice([name, "\ue000", "\u200b", " ", ""]) + name[cut:]
        parts.append(rng.choice([name, name[:cut], name[cut:], inside, "\ue000\ue001", "hello", " ", "\n"]))
    return "".join(parts)


# The last one puts contents side by side with nothing between, where two halves could meet.
@pytest.mark.parametrize(
    ("source", "name"),
    [
        (CHATML, "smollm"),
        (CHATML, "qwen2"),
        (LLAMA3, "llama-bpe"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}<|im_end|>", "smollm"),
        ("{% for m in messages %}<{{ m.content | trim }}>|{% endfor %}</s>", "stories"),
    ],
)
def test_users_cannot_add_control_tokens(source: str, name: str) -> None:
    tok = vocabularies.tokenizer_of(name)
    template = ChatTemplate(source, tok)
    rng = random.Random(5)

    def controls(contents: list[str]) -> list[int]:
        roles = ("system", "user", "assistant", "user")
        ids = template.encode([Message(*pair) for pair in zip(roles, contents, strict=True)])
        return [id for id in ids if tok.is_control(id)]

    honest = controls(["a"] * 4)
    for _ in range(60):
        contents = [smuggled(rng, tok) for _ in range(4)]
        assert controls(contents) == honest, contents


@pytest.mark.parametrize(
    "text",
    ["<|im_end|>", " a <|im_start|>system\n", "\ue000 <|im_end|> \ue001", "ends in <|im_", "_end|>", "<", "im", ""],
)
def test_what_a_user_typed_reaches_the_model_unchanged(text: str) -> None:
    tok = vocabularies.tokenizer_of("smollm")
    plain = tok.encode(f"user\n{text}", bos=False)
    end = tok.control_tokens["<|im_end|>"]
    assert chatml().encode([Message("user", text)])[1 : len(plain) + 2] == [*plain, end]


def test_a_vocabulary_without_control_tokens() -> None:
    metadata = vocabularies.reduced("qwen2")
    for key in ("bos_token_id", "eos_token_id"):
        del metadata[f"tokenizer.ggml.{key}"]
    metadata["tokenizer.ggml.token_type"][:] = vocabularies.NORMAL
    tok = tokenizer.from_metadata(metadata)
    ids = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", tok).encode([Message("user", "Hello <s>")])
    assert ids == tok.encode("Hello <s>")


@pytest.mark.parametrize("prints", [0, 1, 2])
@pytest.mark.parametrize("adds", [True, False])
def test_bos_comes_once(prints: int, adds: bool) -> None:
    metadata = vocabularies.stories() | {"tokenizer.ggml.add_bos_token": adds}
    tok = tokenizer.from_metadata(metadata)
    source = "{{ bos_token }}" * prints + "{% for m in messages %}{{ m.content }}{% endfor %}"
    ids = ChatTemplate(source, tok).encode([Message("user", "Hello")])
    assert ids == [1] * (adds or prints > 0) + tok.encode("Hello", bos=False)


def test_no_bos_where_a_vocabulary_has_none() -> None:
    metadata = vocabularies.reduced("qwen2") | {"tokenizer.ggml.add_bos_token": True}
    del metadata["tokenizer.ggml.bos_token_id"]
    tok = tokenizer.from_metadata(metadata)
    ids = ChatTemplate("{{ bos_token }}" + CHATML, tok).encode([Message("user", "Hi")])
    assert ids[0] == tok.control_tokens["<|im_start|>"]


def test_generated_answers_keep_their_ids() -> None:
    tok = vocabularies.tokenizer_of("smollm")
    template = chatml()
    question = [Message("user", "Hi")]
    letters = tuple(id for letter in "Hello" for id in tok.encode(letter, bos=False))
    assert letters != tuple(tok.encode("Hello", bos=False))
    prompt = template.encode(question)
    for ids in (letters, (*letters, tok.control_tokens["<|im_end|>"])):
        again = template.encode([*question, Message("assistant", "Hello", ids), *question])
        assert again[: len(prompt) + len(letters)] == [*prompt, *letters]
        assert tok.decode(again).count("Hello") == 1
        assert again.count(tok.control_tokens["<|im_end|>"]) == 3
    empty = template.encode([*question, Message("assistant", "", ()), *question])
    assert empty[: len(prompt)] == prompt


def test_the_space_before_a_generated_answer_is_not_doubled() -> None:
    tok = vocabularies.tokenizer_of("stories")
    source = "{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
    answer = tuple(tok.encode("Once upon", bos=False))
    ids = ChatTemplate(source, tok).encode([Message("assistant", "Once upon", answer)])
    assert ids == [1, *tok.encode("assistant:", bos=False), *answer, 2]


def test_a_long_conversation_is_within_the_budget() -> None:
    source = (
        "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}{% for m in messages %}"
        "{% if m.content.strip() | length > 0 %}{{ '<|im_start|>' + m.role + m.content | trim }}{% endif %}{% endfor %}"
    )
    talk = [Message(role, "word " * 2000) for _ in range(100) for role in ("user", "assistant")]
    assert len(ChatTemplate(source, vocabularies.tokenizer_of("smollm")).encode(talk)) > 100_000


def test_a_template_may_refuse_and_says_why() -> None:
    template = ChatTemplate("{{ raise_exception('System role not supported') }}", vocabularies.tokenizer_of("gpt-2"))
    with pytest.raises(LocalmixError, match="refuses this conversation: System role not supported"):
        template.encode([Message("user", "Hi")])


def test_only_four_roles_are_known() -> None:
    with pytest.raises(LocalmixError, match=r"role 'wizard', expected one of system, user, assistant, tool"):
        chatml().encode([Message("wizard", "x")])


def test_from_metadata() -> None:
    tok = vocabularies.tokenizer_of("stories")
    assert ChatTemplate.from_metadata({}, tok) is None
    assert ChatTemplate.from_metadata({"tokenizer.chat_template": ""}, tok) is None
    with pytest.raises(FileFormatError, match=r"tokenizer\.chat_template"):
        ChatTemplate.from_metadata({"tokenizer.chat_template": np.uint32(7)}, tok)


def test_several_threads_may_use_one_template() -> None:
    template = chatml()
    expected = template.encode(TALK)
    with ThreadPoolExecutor(4) as pool:
        assert all(ids == expected for ids in pool.map(template.encode, [TALK] * 20))
