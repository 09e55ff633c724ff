"""Jinja as Hugging Face renders it, and the ways in which a template could hurt."""

import ast
import sys
import threading
import time
import tracemalloc

import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localmix.errors import LocalmixError
from localmix.template import dialect
from localmix.template.sandbox import MAX_SOURCE, render

TALK = {"messages": [{"role": "user", "content": "Hi"}], "tools": None}
REPEAT = "{% set n = namespace(x='ab') %}{% for i in range(60) %}BODY{% endfor %}{{ n.x }}"
TREE = "{% set n = namespace(x=1) %}{% for i in range(60) %}BODY{% endfor %}"

HOGS = {
    "text times number": "{{ 'a' * 10**9 }}",
    "list times number": "{{ ([1] * 10**9) | length }}",
    "number times text": "{{ 10**9 * 'a' }}",
    "power": "{{ 2 ** 100000 }}",
    "repeated product": "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "center filter": "{{ 'a' | center(10**9) }}",
    "center method": "{{ 'a'.center(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "center by map": "{{ ['a'] | map('center', 10**9) | list }}",
    "center as block": "{% filter center(10**9) %}a{% endfilter %}",
    "wide %": "{{ '%1000000000d' % 1 }}",
    "wide % of a key": "{{ '%(a)1000000000d' % {'a': 1} }}",
    "% with a star": "{{ '%*d' % (10**9, 1) }}",
    "wide format filter": "{{ '%1000000000d' | format(1) }}",
    "wide format method": "{{ '{:1000000000}'.format(1) }}",
    "nested format": "{{ '{:{}}'.format(1, 10**9) }}",
    "format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "format of much text": "{{ ('{0}' * 9999).format('a' * 99999) }}",
    "indent": "{{ ('a\n' * 100000) | indent(10**6) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "round": "{{ 1.5 | round(10**9, 'floor') }}",
    "tojson": "{{ [[1]] | tojson(indent=10**9) }}",
    "join": "{{ range(100000) | join('x' * 100000) }}",
    "join method": "{{ ('x' * 100000).join(['a'] * 100000) }}",
    "replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "replace method": "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "nested loops that print": "{% for a in range(99999) %}{% for b in range(99999) %}text{% endfor %}{% endfor %}",
    "recursive loop": "{% for x in [1, 2] recursive %}{% if loop.depth < 40 %}{{ loop([1, 2]) }}"
    "{% endif %}{% endfor %}",
    "macro that prints": "{% macro m() %}{% for i in range(99999) %}"
    + "x" * 9999
    + "{% endfor %}{% endmacro %}{{ m() }}",
    "doubling with ~": REPEAT.replace("BODY", "{% set n.x = n.x ~ n.x %}"),
    "doubling with +": REPEAT.replace("BODY", "{% set n.x = n.x + n.x %}"),
    "doubling with set": REPEAT.replace("BODY", "{% set n.x %}{{ n.x }}{{ n.x }}{% endset %}"),
    "tree of lists": TREE.replace("BODY", "{% set n.x = [n.x, n.x] %}") + "{{ n.x }}",
    "tree of tuples": TREE.replace("BODY", "{% set n.x = (n.x, n.x) %}") + "{{ {n.x: 1} }}",
    "tree of dicts": TREE.replace("BODY", "{% set n.x = dict(a=n.x, b=n.x) %}") + "{{ n.x | tojson }}",
    "tree of arguments": "{% macro m() %}{% set n.x = varargs %}{% endmacro %}"
    + TREE.replace("BODY", "{{ m(n.x, n.x) }}"),
    "bytes": "{{ 'a'.encode().center(10**9) }}",
    "bytes times number": "{{ ('a' * 1000000).encode() * 10000 }}",
    "wide % of bytes": "{{ 'a%1000000000d'.encode() % 1 }}",
    "bytes of a number": "{{ (1).to_bytes(10**9, 'big') }}",
    "number of bytes": "{{ (1).from_bytes(('a' * 100000).encode(), 'big') }}",
    "expandtabs": "{{ 'a\t'.expandtabs(10**9) }}",
    "translate": "{{ ('a' * 100000).translate({97: 'b' * 100000}) }}",
    "lipsum": "{{ lipsum(10**6) }}",
    "lipsum of long paragraphs": "{{ lipsum(1, max=10**8) }}",
    "wordwrap": "{{ ('a' * 1000000) | wordwrap(1) }}",
    "wordwrap with long ends": "{{ ('a ' * 10000) | wordwrap(1, wrapstring='x' * 100000) }}",
    "urlize": "{{ ('(' * 1000000) | urlize }}",
    "striptags": "{{ ('<' * 1000000) | striptags }}",
    "sum of lists": "{{ ([[1] * 1000] * 10000) | sum(start=[]) | length }}",
    "number of base 16": "{{ ('f' * 1000000) | int(base=16) }}",
    "pprint": REPEAT.replace("BODY", "{% set n.x = [n.x] * 3 %}").replace("n.x }}", "n.x | pprint }}"),
    "tree of macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
}

FAULTS = {
    "endless recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    "deep brackets": ("{{ " + "(" * 40000 + "1" + ")" * 40000 + " }}", "RecursionError"),
    "deep expression": ("{{ " + "not " * 20000 + "1 }}", "RecursionError"),
    "large range": ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
    "syntax": ("{% for %}", "in line 1"),
    "missing attribute": ("{{ messages.a.b }}", "has no attribute 'a'"),
    "unknown filter": ("\n{{ 1 | frobnicate }}", "in line 2: No filter named 'frobnicate'"),
    "division": ("{{ 1 / 0 }}", "ZeroDivisionError"),
    "a file": ("{% include '/etc/passwd' %}", "no loader"),
    "internals": ("{{ ''.__class__.__mro__ }}", "unsafe"),
    "internals by filter": ("{{ ('' | attr('__class__')).x }}", "unsafe"),
    "change of the messages": ("{{ messages.append(1) }}", "unsafe"),
    "wide date": ("{{ strftime_now('%1000000000d') }}", "widths"),
    "refusal": ("{{ raise_exception('only\ntwo roles') }}", "refuses this conversation: only two roles"),
    "length": ("a" * (MAX_SOURCE + 1), f"{MAX_SOURCE + 1} characters"),
}


def refusal(source: str, **limits: float) -> str:
    with pytest.raises(LocalmixError) as caught:
        render(source, TALK, **limits)  # type: ignore[arg-type]
    assert type(caught.value) is LocalmixError
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("source", HOGS.values(), ids=HOGS)
def test_hogs_are_stopped_before_they_take_memory_or_time(source: str) -> None:
    tracemalloc.start()
    start = time.thread_time()
    message = refusal(source, seconds=0.5)
    seconds, (_, peak) = time.thread_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "the chat template was stopped" in message
    assert peak < 150e6
    assert seconds < 5


@pytest.mark.parametrize(("source", "words"), FAULTS.values(), ids=FAULTS)
def test_faults_end_in_one_line(source: str, words: str) -> None:
    assert words in refusal(source)


def test_the_deadline_holds_off_the_main_thread() -> None:
    messages: list[str] = []
    hog = HOGS["tree of macros"]
    thread = threading.Thread(target=lambda: messages.append(refusal(hog, seconds=0.05, units=10**12)))
    thread.start()
    thread.join(10)
    assert messages == ["the chat template was stopped: it takes longer than 0.05 s"]


def test_the_budget_is_for_each_rendering_alone() -> None:
    loop = "{% for i in range(1000) %}x{% endfor %}"
    assert all(render(loop, {}, units=7000) == "x" * 1000 for _ in range(20))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("  {% if true %}\n  a\n  {% endif %}\nb\n", "  a\nb"),  # trim_blocks and lstrip_blocks
        ("{{ {'b': 'é<', 'a': [1, none, true]} | tojson }}", '{"b": "é<", "a": [1, null, true]}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ '<b>' }}", "<b>"),
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i > 3 %}{% break %}{% endif %}{{ i }}"
            "{% endfor %}",
            "023",
        ),
        ("{% generation %}\n{{ messages[0].content }}{% endgeneration %}!", "Hi!"),
        (
            "{% for m in messages * 3 %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}",
            "1/3,2/3,3/3",
        ),
        ("{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k ~ v }}{% endfor %}", "a1b2"),
        ("{% set n = namespace(i=0) %}{% for c in 'abc' %}{% set n.i = n.i + 1 %}{% endfor %}{{ n.i }}", "3"),
        (
            "{% macro m(a, b=[1, 2]) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}{% call m('x') %}y{% endcall %}",
            "x[1, 2]y",
        ),
        ("{{ '{:>4}|{}'.format(1, 'a') }} {{ '%03d' % 7 }} {{ '%s!' | format('hi') }}", "   1|a 007 hi!"),
        (
            "{{ ['b', 'a'] | sort | join(', ') }} {{ 'a-b'.split('-') }} {{ 'x' | center(5) }}|",
            "a, b ['a', 'b']   x  |",
        ),
        ("{{ [m.role for m in messages] }}", None),  # Jinja has no comprehensions
        ("{{ undefined_name }}{{ undefined_name is defined }}", "False"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}", "['Hi']"),
        ("{{ tools is none }} {{ 'ab'[::-1] }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ 7 % 4 }}", "True ba 3 1024 3"),
    ],
)
def test_the_dialect(source: str, expected: str | None) -> None:
    if expected is None:
        assert "in line 1" in refusal(source)
    else:
        assert render(source, TALK) == expected


def test_the_date_is_todays() -> None:
    assert render("{{ strftime_now('%Y') }}", {}) in (time.strftime("%Y"), str(int(time.strftime("%Y")) + 1))


def test_rendering_leaves_the_interpreter_as_it_was() -> None:
    before = (sys.getrecursionlimit(), sys.gettrace())
    render("{{ 1 }}", {})
    assert (sys.getrecursionlimit(), sys.gettrace()) == before


METHODS = {
    "text": ("'aB-Cd 12'", (), ("'B'",), ("'B'", "'x'"), ("3",), ("9",), ("['p', 'q']",), ("{66: 'x'}",), ("'big'",)),
    "number": ("(300)", (), ("2", "'big'"), ("1",)),
    "fraction": ("(2.5)", (), ("1",)),
    "bytes": ("'aB c'.encode()", (), ("'B'.encode()",), ("9",), ("'utf-8'",)),
    "list": ("[3, 1, 2]", (), ("1",)),
    "object": ("{'b': 1, 'a': 2}", (), ("'a'",), ("'z'", "0")),
    "truth": ("true", ()),
}
VALUES = {
    "text": "'<b>a.B</b> x@y.de www.c.de 12'",
    "list": "[3, 1, 2]",
    "object": "{'id': 'x', 'k': none}",
    "number": "2.5",
}
RANDOM = ("random", "lipsum")


def theirs() -> ImmutableSandboxedEnvironment:
    """The environment of transformers: https://github.com/huggingface/transformers, utils/chat_template_utils.py."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = dialect.tojson
    return environment


def both(source: str) -> tuple[str | None, str | None]:
    """What ours and theirs print; None where they refuse."""
    try:
        expected = theirs().from_string(source).render(TALK)
    except Exception:  # whatever a template raises
        expected = None
    try:
        return render(source, TALK), expected
    except LocalmixError:
        return None, expected


@pytest.mark.parametrize("kind", METHODS)
def test_methods_that_the_sandbox_of_transformers_allows(kind: str) -> None:
    value, *calls = METHODS[kind]
    names = dir(ast.literal_eval(value.replace("true", "True").replace(".encode()", "")))
    names += dir(b"") if kind == "bytes" else []
    for name in names:
        for args in calls:
            ours, expected = both(f"{{{{ {value}.{name}({', '.join(args)}) }}}}")
            assert ours == expected or " at 0x" in (expected or ""), (name, args)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_filters_and_tests_that_the_sandbox_of_transformers_allows(value: str) -> None:
    for name in theirs().filters:
        for args in ("", "(2)", "('a')", "('id')", "('x', 'y')", "(20, true)"):
            ours, expected = both(f"{{{{ ({value} | {name}{args}) }}}}")
            assert name in RANDOM or ours == expected or " at 0x" in (expected or ""), (name, args)
    for name in theirs().tests:
        for args in ("", "(2)", "('a')"):
            ours, expected = both(f"{{{{ {value} is {name}{args} }}}}")
            assert ours == expected, (name, args)


def test_functions_that_the_sandbox_of_transformers_allows() -> None:
    assert render("{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}", {}) == "aba"
    assert render("{% set j = joiner(',') %}{{ j() }}a{{ j() }}b", {}) == "a,b"
    assert len(render("{{ lipsum(2, html=false, max=30) }}", {})) > 100
    assert render("{{ dict(a=1) }}{{ range(3) | list }}", {}) == "{'a': 1}[0, 1, 2]"


def test_a_template_that_was_rendered_before_pays_again():
    """Its code is kept, what it costs is not."""
    source = "{% for i in range(n) %}x{% endfor %}"
    assert render(source, {"n": 3}) == "xxx"
    with pytest.raises(LocalmixError, match="more than 50 steps"):
        render(source, {"n": 100}, units=50)
    assert render(source, {"n": 100}) == "x" * 100
