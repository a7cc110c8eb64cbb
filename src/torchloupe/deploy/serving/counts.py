"""What a worker counts, in the text format of Prometheus (version 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Histogram:
    """Counts of values up to each of `bounds`, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterable[str]:
        """The lines of the text format."""
        yield f"# TYPE {name} histogram"
        seen = 0
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            seen += count
            yield f'{name}_bucket{{le="{bound}"}} {seen}'
        yield f"{name}_sum {self.total:.6f}"
        yield f"{name}_count {seen}"


class Counts:
    """Requests, images and batches of one worker."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.images: Counter[str] = Counter()  # by outcome: classified, unreadable, refused
        self.seconds = Histogram(_SECONDS)
        self.batches = Histogram(_SIZES)

    def text(self, gauges: dict[str, float]) -> str:
        """All of it, with `gauges` as they are now."""
        lines = ["# TYPE loupe_requests_total counter"]
        for (route, status), count in sorted(self.requests.items()):
            lines.append(f'loupe_requests_total{{route="{route}",status="{status}"}} {count}')
        lines.append("# TYPE loupe_images_total counter")
        for outcome, count in sorted(self.images.items()):
            lines.append(f'loupe_images_total{{outcome="{outcome}"}} {count}')
        lines += self.seconds.lines("loupe_request_seconds")
        lines += self.batches.lines("loupe_batch_images")
        for name, value in gauges.items():
            lines += [f"# TYPE loupe_{name} gauge", f"loupe_{name} {value:g}"]
        return "\n".join(lines) + "\n"
