"""Which of a repository's files a name means."""

import pytest

from localmix.store import variants
from localmix.store.pulled import Name, parse


@pytest.mark.parametrize(
    ("file", "label"),
    [
        ("mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf", "Q4_K_M"),
        ("gpt-oss-20b-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("UD-IQ1_S/DeepSeek-R1-UD-IQ1_S-00001-of-00003.gguf", "UD-IQ1_S"),
        ("Q8_0/big-00001-of-00002.gguf", "Q8_0"),
        ("Phi-3-mini-4k-instruct-fp16.gguf", "F16"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "Q4"),
        ("smollm2-360m-instruct-q8_0.gguf", "Q8_0"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-120b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("x.i1-IQ3_XXS.gguf", "IQ3_XXS"),
        ("x-Q4_0_8_8.gguf", "Q4_0_8_8"),
        ("x-q4-k-m.gguf", "Q4_K_M"),
        ("x-TQ2_0.gguf", "TQ2_0"),
        ("Qwen2.5-32B.gguf", None),
        ("ggml-model.gguf", None),
    ],
)
def test_labels(file: str, label: str | None) -> None:
    (found,) = variants.variants([file])
    assert found.label == label


FILES = [
    "README.md",
    "imatrix.gguf",
    "m-F16.gguf",
    "m-Q2_K_L.gguf",
    "m-Q4_0.gguf",
    "m-Q4_K_M.gguf",
    "m-Q4_K_S.gguf",
    "m-Q8_0.gguf",
    "m-UD-Q4_K_M.gguf",
    "m-UD-Q4_K_XL.gguf",
    "m-UD-Q8_K_XL.gguf",
    "mmproj-F16.gguf",
    "mmproj-F32.gguf",
    "split/m-Q6_K-00001-of-00002.gguf",
    "split/m-Q6_K-00002-of-00002.gguf",
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, ["m-Q4_K_M.gguf"]),
        ("Q4_K_M", ["m-Q4_K_M.gguf"]),
        ("q4-k-m", ["m-Q4_K_M.gguf"]),
        ("Q4KM", ["m-Q4_K_M.gguf"]),
        ("UD-Q4_K_M", ["m-UD-Q4_K_M.gguf"]),
        ("ud_q4_k_xl", ["m-UD-Q4_K_XL.gguf"]),
        ("Q4_K_XL", ["m-UD-Q4_K_XL.gguf"]),
        ("fp16", ["m-F16.gguf"]),
        ("q8", ["m-Q8_0.gguf"]),
        ("q2", ["m-Q2_K_L.gguf"]),
        ("q6_k", ["split/m-Q6_K.gguf"]),
        ("q4_k", ["m-Q4_K_M.gguf", "m-Q4_K_S.gguf"]),
        ("M-Q4_0.GGUF", ["m-Q4_0.gguf"]),
        ("m-Q4_0", ["m-Q4_0.gguf"]),
        ("mmproj-F32.gguf", ["mmproj-F32.gguf"]),
        ("split/m-Q6_K-00001-of-00002.gguf", ["split/m-Q6_K.gguf"]),
        ("Q3_K_M", []),
        ("F32", []),
    ],
)
def test_what_a_name_means(wanted: str | None, found: list[str]) -> None:
    assert [one.file for one in variants.fitting(variants.variants(FILES), wanted)] == found


def test_the_only_model_needs_no_format_in_its_name() -> None:
    known = variants.variants(["mmproj.gguf", "model.gguf", "model.imatrix.gguf"])
    assert [one.file for one in variants.fitting(known, None)] == ["model.gguf"]
    assert variants.names([one for one in known if not one.beside]) == [None]


def test_models_of_one_format_are_told_apart_by_their_files() -> None:
    known = variants.variants(["a-Q8_0.gguf", "b-Q8_0.gguf", "b-F16.gguf"])
    assert variants.names(known) == ["a-Q8_0.gguf", "F16", "b-Q8_0.gguf"]
    assert [one.file for one in variants.fitting(known, "Q8_0")] == ["a-Q8_0.gguf", "b-Q8_0.gguf"]


@pytest.mark.parametrize(("wanted", "recipe"), [("q8", "Q8_0"), ("fp16", "F16"), ("q4-k-m", "Q4_K_M"), ("q4", "q4")])
def test_recipes(wanted: str, recipe: str) -> None:
    assert variants.recipe(wanted, ["F16", "Q4_0", "Q4_K_M", "Q8_0"]) == recipe


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a/b", Name("a/b", None)),
        ("a/b:q8", Name("a/b", "q8")),
        ("https://huggingface.co/a/b", Name("a/b", None)),
        ("https:/huggingface.co/a/b/", Name("a/b", None)),
        ("https://huggingface.co/a/b/tree/main", Name("a/b", None)),
        ("https://huggingface.co/a/b/blob/main/x/c.Q8_0.gguf", Name("a/b", "x/c.Q8_0.gguf")),
        ("hf.co/a/b:Q8_0", Name("a/b", "Q8_0")),
        ("hf://a/b", Name("a/b", None)),
        ("a/b/c.gguf", None),
        ("a", None),
    ],
)
def test_names_and_addresses(text: str, name: Name | None) -> None:
    assert parse(text) == name
