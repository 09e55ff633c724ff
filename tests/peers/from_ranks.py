"""A folder with a tokenizer.json out of ranked byte strings (tiktoken's files), for `auto_tokenizer.py`.

usage: PYTHONPATH=. python tests/peers/from_ranks.py RANKS.tiktoken ROW OUT
ROW is a name in localmix/tokenizer/cuts.py.
"""

import base64
import json
import sys
from pathlib import Path

from localmix.tokenizer.cuts import CUTS
from localmix.tokenizer.rules import rules_of_cut
from localmix.tokenizer.tekken_file import merges, spelled

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def main() -> None:
    source, row, out = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    lines = [line.split() for line in source.read_bytes().splitlines() if line]
    ranked = [base64.b64decode(text) for text, _ in sorted(lines, key=lambda line: int(line[1]))]
    rules = rules_of_cut(CUTS[row])
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": True}
    named = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    content = {
        "version": "1.0",
        "added_tokens": [{"id": len(ranked) + i, "content": text, **flags} for i, text in enumerate(named)],
        "normalizer": rules.normalizer,
        "pre_tokenizer": rules.pre_tokenizer,
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE",
            "vocab": {text: rank for rank, text in enumerate(spelled(ranked))},
            "merges": merges(ranked),
            "ignore_merges": rules.ignore_merges,
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))
    settings = {"eos_token": "<|im_end|>", "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": CHATML}
    (out / "tokenizer_config.json").write_text(json.dumps(settings))


if __name__ == "__main__":
    main()
