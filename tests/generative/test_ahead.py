"""Work that threads do ahead of time: in order, not too far ahead, at the same time, and without hiding an error."""

import threading
import time

import pytest

from generative.ahead import batches_of, in_order


def test_results_come_in_the_order_of_the_items():
    def slow_if_even(i: int) -> int:
        time.sleep(0.01 * (i % 2 == 0))
        return i * i

    assert list(in_order(slow_if_even, range(20), threads=4, ahead=6)) == [i * i for i in range(20)]
    assert list(in_order(slow_if_even, [], threads=4, ahead=6)) == []


@pytest.mark.parametrize("ahead", [1, 3])
def test_items_are_drawn_no_further_ahead_than_asked(ahead: int):
    drawn = []

    def items():
        for i in range(20):
            drawn.append(i)
            yield i

    results = in_order(lambda i: i, items(), threads=2, ahead=ahead)
    for i in range(15):
        assert next(results) == i
        assert len(drawn) == i + 1 + ahead
    results.close()


def test_stages_run_at_the_same_time():
    """Each stage waits for the other: whoever did one after the other would never end."""
    first_is_at, second_is_at = threading.Event(), threading.Event()

    def first(i: int) -> int:
        if i == 1:
            first_is_at.set()
            assert second_is_at.wait(20)
        return i

    def second(i: int) -> int:
        if i == 0:
            second_is_at.set()
            assert first_is_at.wait(20)
        return i

    stages = in_order(second, in_order(first, range(4), threads=1, ahead=2), threads=1, ahead=2)
    assert list(stages) == [0, 1, 2, 3]


def test_an_error_comes_in_the_place_of_its_result_and_ends_the_work():
    done = []

    def fails_at_five(i: int) -> int:
        done.append(i)
        if i == 5:
            raise ValueError("five")
        return i

    results = in_order(fails_at_five, range(1000), threads=2, ahead=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert max(done) <= 5 + 3


def test_what_was_not_begun_is_dropped():
    go_on, done = threading.Event(), []

    def wait_after_the_first(i: int) -> int:
        done.append(i)
        assert i == 0 or go_on.wait(20)
        return i

    results = in_order(wait_after_the_first, range(100), threads=1, ahead=6)
    assert next(results) == 0
    threading.Timer(0.05, go_on.set).start()
    results.close()
    assert len(done) <= 2


def test_batches():
    assert list(batches_of(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batches_of([], 3)) == []
