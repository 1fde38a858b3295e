"""Round robin at the reading threads: which reads may begin, and which one is next."""

from headway.store.reader_pool import turns as turns_of


def begun(turns, lane, count):
    return [turns.begin(lane, f"{lane}-{number}") for number in range(count)].count(True)


def test_one_organisation_never_has_all_threads_and_all_of_them_leave_one_to_the_server():
    turns = turns_of(6)
    assert (4, 1, 0) == (begun(turns, 1, 20), begun(turns, 2, 20), begun(turns, 3, 20))
    assert 1 == begun(turns, None, 20)
    assert 6 == turns.busy


def test_organisations_have_their_turns_one_after_the_other():
    turns = turns_of(3)
    for lane in (1, 2, 3):
        begun(turns, lane, 3)
    assert 2 == turns.busy
    order, lanes = [], [1, 2]
    while lanes:
        following = turns.end(lanes.pop(0))
        if following is not None:
            order.append(following)
            lanes.append(int(following[0]))
    assert ["1-1", "2-1", "3-0", "1-2", "2-2", "3-1", "3-2"] == order
    assert 0 == turns.busy


def test_what_the_server_reads_for_itself_comes_first():
    turns = turns_of(3)
    begun(turns, None, 4)
    begun(turns, 1, 1)
    assert "None-3" == turns.end(None)
    assert "1-0" == turns.end(None)


def test_a_waiting_read_comes_before_a_new_one():
    turns = turns_of(3)
    assert turns.begin(1, "first")
    assert not turns.begin(1, "second")
    assert "second" == turns.end(1)


def test_a_read_that_is_given_up_while_it_waits_is_forgotten():
    turns = turns_of(3)
    assert 1 == begun(turns, 1, 3)
    assert turns.forget(1, "1-1")
    assert not turns.forget(1, "1-1")
    assert not turns.forget(1, "1-0"), "it is under way"
    assert "1-2" == turns.end(1)
    assert turns.end(1) is None


def test_with_few_threads_each_organisation_has_one_all_the_same():
    for threads in (1, 2):
        turns = turns_of(threads)
        assert 1 == begun(turns, 1, 3)
        assert "1-1" == turns.end(1)
