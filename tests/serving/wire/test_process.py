import resource

import pytest

from serving.wire.process import MAX_DESCRIPTORS, raise_descriptor_limit


@pytest.mark.parametrize(
    ("now", "most", "raised"), [(1024, 9999, 9999), (1024, 10**6, MAX_DESCRIPTORS), (10**5, 10**6, None)]
)
def test_workers_raise_the_connection_limit(
    monkeypatch: pytest.MonkeyPatch, now: int, most: int, raised: int | None
) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (now, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    raise_descriptor_limit()
    assert limits == ([] if raised is None else [(raised, most)])
