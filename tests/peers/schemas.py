"""Holds many answers to random bounded schemas and counts those that parse and validate. By hand, minutes:

python tests/peers/schemas.py [MODEL.gguf] [--count 1000]

With a limit of tokens now and then, so that some are cut off: these must say `length`. Needs jsonschema.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

import jsonschema

sys.path.insert(0, str(Path(__file__).parents[1]))
import random_schemas

import localmix
from localmix.answer.batching import Answer, Batching, Request
from localmix.answer.options import Options


def verdict(answer: Answer, options: Options) -> str:
    """What became of an answer."""
    if answer.reason != "end":
        return answer.reason if len(answer.ids) == options.max_tokens else f"{answer.reason}, not at the limit"
    try:
        jsonschema.validate(json.loads(answer.text), options.json_schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return f"INVALID: {type(error).__name__}"
    return "valid"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--count", type=int, default=1000)
    a = parser.parse_args()
    model = localmix.load(a.model)
    prompt = model.tokenizer.encode("Here is a JSON object: ")
    requests = [
        Request(i, prompt, Options(json_schema=random_schemas.schema(random.Random(i), 2), seed=i, temp=1.0,
                                   max_tokens=8 if i % 50 == 0 else model.network.context - len(prompt)))
        for i in range(a.count)
    ]  # fmt: skip
    began, counts, tokens = time.perf_counter(), Counter(), 0
    for answer in Batching(model, requests):
        counts[verdict(answer, requests[int(answer.id)].options)] += 1
        tokens += len(answer.ids)
    seconds = time.perf_counter() - began
    print(f"{model.file.path}: {a.count} answers, {tokens} tokens, {seconds:.0f} s: {dict(counts)}")


if __name__ == "__main__":
    main()
