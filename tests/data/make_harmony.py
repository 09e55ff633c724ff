"""Writes harmony.json: answers as gpt-oss writes them, and the messages that openai-harmony reads in each.

usage: TIKTOKEN_ENCODINGS_BASE=FOLDER python tests/data/make_harmony.py        (the folder has o200k_base.tiktoken)
needs: openai-harmony 0.0.8
"""

import json
from pathlib import Path

from openai_harmony import HarmonyEncodingName, Role, load_harmony_encoding

ANSWERS = [
    "<|channel|>final<|message|>Hello!<|return|>",
    "<|channel|>analysis<|message|>Short.<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>",
    "<|channel|>analysis<|message|>One.\n\nTwo: a < b <| c.<|end|><|start|>assistant<|channel|>final<|message|>"
    "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nDone.\n<|return|>",
    "<|channel|>analysis<|message|>Käse, 你好, 🦙.<|end|><|start|>assistant<|channel|>final<|message|>Grüße 🦙\n<|return|>",
    "<|channel|>analysis<|message|>Use the tool.<|end|><|start|>assistant<|channel|>commentary to=functions.weather "
    '<|constrain|>json<|message|>{"city":"Paris"}<|call|>',
    "<|channel|>analysis<|message|>Use it.<|end|><|start|>assistant to=functions.weather<|channel|>commentary "
    '<|constrain|>json<|message|>{"city":"Paris","days":3}<|call|>',
    "<|channel|>analysis<|message|>Use it.<|end|><|start|>assistant to=functions.weather<|channel|>commentary json"
    '<|message|>{"city":"Rome"}<|call|>',
    "<|channel|>commentary<|message|>First I look up the weather, then the trains.<|end|><|start|>assistant"
    '<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{"city":"Rome"}<|call|>',
    "<|channel|>analysis<|message|>A plan helps.<|end|><|start|>assistant<|channel|>commentary<|message|>**Plan**:\n"
    '1. look\n2. tell<|end|><|start|>assistant<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>',
    "<|channel|>analysis<|message|>One.<|end|><|start|>assistant<|channel|>analysis<|message|>And two.<|end|>"
    "<|start|>assistant<|channel|>final<|message|>Three.<|return|>",
    "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Here it is.<|return|>",
    "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>Nothing to think of.<|return|>",
    "<|channel|>analysis to=python code<|message|>print(2**10)<|call|>",
    "<|channel|>analysis<|message|>Search.<|end|><|start|>assistant<|channel|>analysis to=browser.search code"
    '<|message|>{"query":"llama"}<|call|>',
    '<|channel|>final <|constrain|>json<|message|>{"answer": 42}<|return|>',
    "<|channel|>analysis<|message|>The user writes `<think>` and </think> and [INST].<|end|><|start|>assistant"
    "<|channel|>final<|message|>`<think>` opens, `</think>` closes, <tool_call> calls.<|return|>",
    "<|channel|>final<|message|>```python\nif a < b and c | d:\n    print('<|')\n```\n<|return|>",
    "<|channel|>analysis<|message|>Two calls.<|end|><|start|>assistant<|channel|>commentary to=functions.a "
    '<|constrain|>json<|message|>{"x":[1,{"y":null}]}<|call|>',
    "<|channel|>analysis<|message|>I was cut off in the mid",
    "<|channel|>analysis<|message|>Done.<|end|><|start|>assistant<|channel|>final<|message|>I was cut off, too, in the",
]  # fmt: skip


def main() -> None:
    encoding = load_harmony_encoding(HarmonyEncodingName.HARMONY_GPT_OSS)
    rows = []
    for text in ANSWERS:
        ids = encoding.encode(text, allowed_special="all")
        messages = encoding.parse_messages_from_completion_tokens(ids, Role.ASSISTANT)
        rows.append({"text": text, "messages": [
            {"channel": m.channel, "recipient": m.recipient, "text": "".join(c.text for c in m.content)}
            for m in messages
        ]})  # fmt: skip
    path = Path(__file__).parent / "harmony.json"
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
