"""What `localmix doctor --selftest` prints: a line for every kernel of the MLX backend, pass, FAIL or skip."""

from localmix.cli.streams import note, write
from localmix.errors import LocalmixError

_VERDICTS = {True: "pass", False: "FAIL", None: "skip"}


def passes(quiet: bool) -> bool:
    """Run the checks, a line each on stdout; whether none failed. LocalmixError: there is no MLX here."""
    from localmix import backends

    reason = backends.no_mlx()
    if reason is not None:
        raise LocalmixError(f"there are no kernels to check: {reason}")
    from localmix.backends.mlx.selftest import checks

    counts = dict.fromkeys(_VERDICTS.values(), 0)
    for check in checks():
        verdict = _VERDICTS[check.passed]
        counts[verdict] += 1
        write(f"{verdict}\t{check.name}\t{check.detail}\n")
    if not quiet:
        note(f"localmix: {counts['pass']} passed, {counts['FAIL']} failed, {counts['skip']} cannot be run here")
    return counts["FAIL"] == 0
