"""The requests to give runs away."""

from kdbench.worker.give_away_requests import GiveAwayRequests


def test_requests_for_a_job_add_up():
    requests = GiveAwayRequests()
    requests.add(1, ["a"])
    requests.add(1, ["b"])
    assert requests.of(1) == {"a", "b"}


def test_requests_for_another_job_are_ignored():
    requests = GiveAwayRequests()
    assert requests.of(1) == set()
    requests.add(1, ["a"])
    requests.add(2, ["b"])
    assert requests.of(2) == {"b"}
    assert requests.of(3) == set()
