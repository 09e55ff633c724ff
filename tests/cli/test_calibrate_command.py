"""`localmix calibrate`: a file, and what is to be known about it on stderr."""

from pathlib import Path

from command_line import localmix

from localmix.measure import imatrix

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. " * 8


def test_a_file_is_written_and_rare_experts_named(tmp_path: Path, upcycled_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "x.imatrix.gguf"
    text.write_text(TEXT)
    arguments = ("calibrate", upcycled_path, text, "-o", out, "-c", 64, "--chunks", 2)
    done = localmix(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    found = imatrix.read(out)
    assert (found.datasets, found.tokens) == (["text.txt"], 128)
    assert f"{len(found.entries)} tensors, 128 tokens" in done.stderr
    (name, few), *_ = ((name, few) for name, few in found.rare().items() if "ffn_down" in name)
    expert, tokens = next(iter(few.items()))
    assert f"{name.partition('.ffn')[0]}: fewer than 64 tokens for experts {expert} ({tokens} tokens)" in done.stderr
    again = localmix(*arguments)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    assert localmix(*arguments, "--force", "-q").stderr == ""
