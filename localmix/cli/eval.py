"""`localmix eval MODEL --tasks …`: benchmarks of EleutherAI's lm-evaluation-harness, with localmix as its model."""

import json
import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localmix.cli.memory import loaded
from localmix.cli.parameters import BackendOption, Json, KeysValues, Output, Ram, Threads
from localmix.cli.streams import note, overwrite, write
from localmix.errors import LocalmixError
from localmix.store.pulled import resolve

if TYPE_CHECKING:
    from localmix.harness import LocalmixLM

DRAWS = 1000  # for the standard error of a metric that has no formula for it


def eval(
    output: Output,
    path: Annotated[Path, typer.Argument(metavar="MODEL", help="A GGUF file, or the name of a pulled model.")],
    tasks: Annotated[str, typer.Option("--tasks", metavar="NAMES", help="Tasks or groups, separated by commas.")],
    include_path: Annotated[
        Path | None, typer.Option("--include-path", metavar="FOLDER", help="A folder with more tasks, as YAML files.")
    ] = None,
    num_fewshot: Annotated[
        int | None,
        typer.Option("--num-fewshot", min=0, help="Examples before each question.", show_default="the task's"),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Questions per task.", show_default="all")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Ask as in a chat, with the template in the file.")
    ] = False,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system prompt.")] = None,
    gen_kwargs: Annotated[
        str | None, typer.Option("--gen-kwargs", metavar="KEY=VALUE,…", help="Sampling options for all tasks.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write results and every answer as JSON.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    context: Annotated[
        int | None, typer.Option("-c", "--ctx", min=2, help="Tokens of context.", show_default="all the model has")
    ] = None,
    backend: BackendOption = None,
    threads: Threads = None,
    kv: KeysValues = "f16",
    ram: Ram = None,
    as_json: Json = False,
) -> None:
    """Run benchmarks of lm-evaluation-harness.

    pip install 'localmix[eval]' brings it.

    Example: localmix eval mixtral --tasks arc_easy,hellaswag --limit 500
    """
    from localmix.measure import aside

    if out is not None:
        aside.check_new(out, force)
    if include_path is not None and not include_path.is_dir():
        raise LocalmixError(f"{include_path}: not a folder: expected one with task files (.yaml)")
    harness = _harness()
    model = harness.LocalmixLM(
        loaded(resolve(path), backend, threads, kv, ram), context=context, progress=_progress(output)
    )
    found = evaluated(
        model,
        tasks,
        include_path,
        num_fewshot=num_fewshot,
        limit=limit,
        apply_chat_template=apply_chat_template,
        fewshot_as_multiturn=apply_chat_template,
        system_instruction=system,
        gen_kwargs=gen_kwargs,
        log_samples=out is not None,
    )
    overwrite("")
    if out is not None:
        with aside.writing(out) as file:
            file.write_text(json.dumps(found, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
    if as_json:
        write(json.dumps({"model": str(path), "results": found["results"]}, indent=2, default=str) + "\n")
    else:
        from localmix.cli.tables import show

        show(
            {"tasks": (("task", "metric", "value", "error", "questions"), rows(found))}, {"value", "error", "questions"}
        )
    if not output.quiet:
        note(spoken(model))


def evaluated(model: "LocalmixLM", names: str, folder: Path | None, **how: Any) -> dict[str, Any]:
    """The harness's results. LocalmixError: no such task, or one that cannot be had here."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder) if folder else None)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in manager.all_tasks]:
        raise LocalmixError(
            f"no task {', '.join(unknown)}: expected names of lm-evaluation-harness, or of files in --include-path"
        )
    try:
        with redirect_stdout(sys.stderr):  # the harness tells there what it does
            found = simple_evaluate(model=model, tasks=wanted, task_manager=manager, bootstrap_iters=DRAWS, **how)
    except (OSError, ConnectionError) as error:  # of a data set
        raise LocalmixError(f"{names}: a task's data cannot be read: {error}") from error
    assert found is not None
    return dict(found)


def rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row for each task and metric: value, standard error, questions."""
    table: list[tuple[str, ...]] = []
    for task, metrics in found["results"].items():
        count = found.get("n-samples", {}).get(task, {}).get("effective", "")
        for key, value in metrics.items():
            name, _, kind = key.partition(",")
            if isinstance(value, int | float) and kind and not name.endswith("_stderr"):
                error = metrics.get(f"{name}_stderr,{kind}")
                shown = f"± {error:.4f}" if isinstance(error, float) else ""
                label = name if kind == "none" else f"{name} ({kind})"
                table.append((task, label, f"{value:.4f}", shown, str(count)))
    return table


def spoken(model: "LocalmixLM") -> str:
    """How much was computed, and how much was spared."""
    given, computed = model.scored
    spared = f", {1 - computed / given:.0%} of {given} tokens shared with others" if given else ""
    return f"localmix: {model.model.backend.name}, {model.model.backend.isa}, {computed} tokens scored{spared}"


def _harness() -> Any:
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is ours to show
    os.environ.setdefault("DISABLE_MULTIPROC", "1")  # of the harness: processes for draws would be forks of our threads
    try:
        import lm_eval  # noqa: F401
    except ImportError:
        raise LocalmixError("lm-evaluation-harness is not installed: pip install 'localmix[eval]'") from None
    from localmix import harness

    return harness


def _progress(output: Output) -> Any:
    if output.quiet:
        return None
    return lambda what, done, total: overwrite(f"{done} of {total} {what}" if done < total else "")
