"""Numbers as people read them: the one place that writes sizes."""


def amount(number: int, unit: str = "") -> str:
    """A count with three digits and a prefix: 46.7 G, 1.19 GB, 131 kB."""
    value, prefix = float(number), ""
    for larger in "kMGT":
        if value < 999.5:
            break
        value, prefix = value / 1000, larger
    return f"{value:.3g} {prefix}{unit}".rstrip()
