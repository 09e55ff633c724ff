"""Chat templates beside transformers: the text that each prints for a few conversations.

usage: python tests/peers/chat_templates.py FOLDER        (of *.jinja files)
needs: transformers
"""

import sys
import time
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

from localmix.errors import LocalmixError
from localmix.template.sandbox import render

TALKS = [
    [{"role": "user", "content": ' Hi <b>"you"</b>\n'}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "<think>x</think>Hello! "},
        {"role": "user", "content": "Bye\n\n& more"},
    ],
]


def main() -> None:
    same = different = refused = 0
    seconds = []
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        for talk in TALKS:
            for opened in (True, False):
                theirs = their_text(path.read_text(), talk, opened)
                start = time.perf_counter()
                ours = our_text(path.read_text(), talk, opened)
                seconds.append(time.perf_counter() - start)
                same, different = same + (ours == theirs), different + (ours != theirs)
                refused += theirs is None
                if ours != theirs:
                    print(f"{path.name}:\n  ours   {ours!r}\n  theirs {theirs!r}")
    print(
        f"{same} the same ({refused} refused by both), {different} different, up to {max(seconds) * 1000:.0f} ms each"
    )


def their_text(source: str, talk: list[dict[str, str]], opened: bool) -> str | None:
    try:
        rendered, _ = render_jinja_template(
            [talk], chat_template=source, add_generation_prompt=opened, bos_token="<s>", eos_token="</s>"
        )
    except Exception:  # whatever a template raises: only that it refuses is compared
        return None
    return rendered[0]


def our_text(source: str, talk: list[dict[str, str]], opened: bool) -> str | None:
    names = {"bos_token": "<s>", "eos_token": "</s>", "tools": None, "documents": None}
    try:
        return render(source, {"messages": talk, "add_generation_prompt": opened, **names})
    except LocalmixError:
        return None


if __name__ == "__main__":
    main()
