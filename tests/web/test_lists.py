"""Lists: filters, pages, tokens that cannot be bent."""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

import pytest

from headway.protocol import workers as wire


async def five(server):
    found = []
    for number in range(5):
        found.append(await server.start(labels={"n": str(number % 2)}, priority=number))
        server.clock.advance(1000)
    return found[::-1]


def ids(answer):
    return [run["id"] for run in answer.json["data"]]


async def test_pages_follow_each_other_without_gap_or_repeat(serving):
    async with serving() as server:
        whole, seen, token = await five(server), [], ""
        for _ in range(3):
            answer = await server.get(f"/v1/runs?page_size=2&page_token={token}")
            seen += ids(answer)
            token = answer.json["next_page_token"]
        assert (seen, token, answer.json["has_more"]) == (whole, "", False)


async def test_the_link_leads_to_the_next_page(serving):
    async with serving() as server:
        whole = await five(server)
        answer = await server.get("/v1/runs?page_size=3&task=backup")
        link, rel = answer.headers["link"].split("; ")
        assert rel == 'rel="next"'
        url = urlsplit(link.strip("<>"))
        assert ids(await server.get(f"{url.path}?{url.query}")) == whole[3:]


async def test_the_size_of_a_page_may_change_on_the_way_and_is_made_to_fit(serving):
    async with serving() as server:
        whole = await five(server)
        token = (await server.get("/v1/runs?page_size=1")).json["next_page_token"]
        assert ids(await server.get(f"/v1/runs?page_size=100000&page_token={token}")) == whole[1:]


async def test_a_token_is_good_for_its_own_list_only(serving):
    async with serving() as server:
        await five(server)
        token = (await server.get("/v1/runs?page_size=1")).json["next_page_token"]
        for other in ("state=queued", "order_by=created_at%20asc", "label.n=1", "task=other"):
            answer = await server.get(f"/v1/runs?page_token={token}&{other}")
            assert (answer.status, answer.code) == (400, "bad_cursor"), other


async def test_a_token_that_was_tampered_with_is_refused(serving):
    async with serving() as server:
        await five(server)
        token = (await server.get("/v1/runs?page_size=1")).json["next_page_token"]
        body, _, signature = token.partition(".")
        forged = base64.urlsafe_b64encode(b"x 0").decode()
        signed_for_another_purpose = server.service.signer.seal("token", "x y")
        for bad in (
            token[:-1],
            "x",
            f"{forged}.{signature}",
            f"{body}.",
            f".{signature}",
            "%C3%A9",
            signed_for_another_purpose,
        ):
            answer = await server.get(f"/v1/runs?page_size=1&page_token={bad}")
            assert (answer.status, answer.code) == (400, "bad_cursor"), bad


@pytest.mark.parametrize(
    ("query", "expected"),
    [("label.n=1", 2), ("state=queued", 5), ("state=failed,running", 0), ("state=failed&state=queued", 5), ("task=nope", 0),
     ("created_after=2027-01-15T08:00:03Z", 2), ("created_before=2027-01-15T08:00:03Z", 3), ("queue=default&label.n=0", 3)],
)  # fmt: skip
async def test_filters_narrow_the_list_and_the_count(serving, query, expected):
    async with serving() as server:
        await five(server)
        assert len(ids(await server.get(f"/v1/runs?{query}"))) == expected
        assert (await server.get(f"/v1/runs:count?{query}")).json["total"] == expected


async def test_a_long_filter_goes_into_a_body(serving):
    async with serving() as server:
        whole = await five(server)
        first = await server.post("/v1/runs:query", {"state": ["queued"], "page_size": 2})
        again = {"state": ["queued"], "page_size": 9, "page_token": first.json["next_page_token"]}
        assert ids(first) + ids(await server.post("/v1/runs:query", again)) == whole
        assert (await server.post("/v1/runs:query", {"page_size": 0})).code == "invalid_input"
        assert (await server.post("/v1/runs:query", {"created_after": "soon"})).json["errors"][0][
            "pointer"
        ] == "/created_after"


async def test_oldest_first_if_asked(serving):
    async with serving() as server:
        whole = await five(server)
        assert ids(await server.get("/v1/runs?order_by=created_at+asc")) == whole[::-1]


async def test_what_is_filtered_by_the_end_goes_by_the_end_if_nothing_else_is_said(serving):
    async with serving() as server:
        first, second = await server.running(), await server.running()
        await server.start()
        for run_id in (second, first):
            server.clock.advance(1000)
            await server.succeed(run_id)
        lately = "finished_after=2026-01-01T00:00:00Z"
        for query, expected in (
            (lately, [first, second]),
            (f"{lately}&state=succeeded,failed", [first, second]),
            (f"{lately}&order_by=created_at%20desc", [second, first]),
            (f"{lately}&task=backup&queue=default", [first, second]),
            (f"{lately}&created_after=2026-01-01T00:00:00Z", [second, first]),
            ("order_by=finished_at", [second, first]),
            ("order_by=finished_at%20asc&task=backup", [second, first]),
            ("order_by=finished_at%20desc", [first, second]),
        ):
            seen, token = [], ""
            while token or not seen:
                answer = await server.get(f"/v1/runs?{query}&page_size=1&page_token={token}")
                seen, token = seen + ids(answer), answer.json["next_page_token"]
            assert seen == expected, query


async def test_counts_by_group(serving):
    async with serving() as server:
        await five(server)
        for group, counts in (
            ("state", {"queued": 5}),
            ("task", {"backup": 5}),
            ("priority", {str(n): 1 for n in range(5)}),
        ):
            assert (await server.get(f"/v1/runs:count?group_by={group}")).json == {"counts": counts, "total": 5}
        assert (await server.get("/v1/runs:count?group_by=name")).code == "bad_parameter"


async def test_children_in_the_order_of_their_start(serving):
    async with serving() as server:
        parent = await server.start()
        children = [await server.start(parent_id=parent) for _ in range(3)]
        answer = await server.get(f"/v1/runs/{parent}/children?page_size=2")
        assert ids(answer) == children[:2]
        token = answer.json["next_page_token"]
        assert ids(await server.get(f"/v1/runs/{parent}/children?page_token={token}")) == children[2:]
        expanded = (await server.get(f"/v1/runs/{parent}?expand=output,children")).json
        assert [child["id"] for child in expanded["children"]] == children
        assert (await server.get(f"/v1/runs/{parent}?expand=parents")).code == "bad_parameter"


async def test_histories_are_read_in_pieces(serving):
    async with serving() as server:
        run_id = await server.running()
        for number in range(5):
            await server.log(run_id, f"line {number}")
        logs = (await server.get(f"/v1/runs/{run_id}/logs?page_size=3")).json
        assert [line["message"] for line in logs["data"]] == ["line 0", "line 1", "line 2"]
        assert logs["has_more"]
        rest = (await server.get(f"/v1/runs/{run_id}/logs?after={logs['next_after']}")).json
        assert ([line["message"] for line in rest["data"]], rest["has_more"]) == (["line 3", "line 4"], False)
        events = (await server.get(f"/v1/runs/{run_id}/events?after=2&page_size=2")).json
        assert ([event["seq"] for event in events["data"]], events["next_after"]) == ([3, 4], 4)
        feed = (await server.get(f"/v1/events?page_size=1000&run_id={run_id}")).json
        assert [event["seq"] for event in feed["data"]] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_list_of_events_from_now_is_empty_and_says_where_to_go_on(serving):
    async with serving() as server:
        run_id = await server.running()
        other = await server.start()
        for path in (f"/v1/runs/{run_id}/events?", "/v1/events?", f"/v1/events?run_id={run_id}&"):
            now = (await server.get(f"{path}from=now")).json
            start = (await server.get(f"{path}from=start")).json
            plain = (await server.get(path.rstrip("?&"))).json
            first = (await server.get(f"{path}page_size=1")).json["next_after"]
            assert (now["data"], now["has_more"]) == ([], False), path
            assert now["next_after"] >= start["next_after"] == plain["next_after"], path
            assert (start["data"], len(start["data"]) > 1) == (plain["data"], True), path
            both = (await server.get(f"{path}from=now&after={first}")).json
            assert both["data"] == start["data"][1:], "what is known goes before"
        position = (await server.get("/v1/events?from=now")).json["next_after"]
        await server.post(f"/v1/runs/{other}:terminate")
        found = (await server.get(f"/v1/events?after={position}")).json["data"]
        assert [event["run_id"] for event in found] == [other]


async def test_a_list_does_not_begin_after_what_has_not_happened_yet(serving):
    async with serving() as server:
        run_id = await server.running()
        for path in (f"/v1/runs/{run_id}/events", "/v1/events"):
            last = (await server.get(path)).json["next_after"]
            assert (await server.get(f"{path}?after={last}")).json["data"] == []
            refused = await server.get(f"{path}?after={last + 1}")
            assert (refused.status, refused.code) == (400, "bad_cursor")


async def test_a_parameter_that_says_null_is_taken_at_its_word(serving):
    async with serving() as server:
        await server.start(key="null")
        await server.start()
        assert len(ids(await server.get("/v1/runs?key=null"))) == 1
        assert (await server.get("/v1/events?from=null")).code == "bad_parameter"


async def test_a_queue_cannot_be_made_under_a_name_that_no_run_could_give(serving):
    async with serving() as server:
        for name in ("x" * 201, "a%0Ab"):
            assert (await server.ask("PATCH", f"/v1/queues/{name}", {"concurrency": 1})).code == "bad_parameter"
        assert (await server.ask("PATCH", "/v1/queues/a%00b", {"concurrency": 1})).code == "route_not_found"


async def test_pages_of_large_runs_are_short_and_lead_on(serving):
    async with serving() as server:
        whole = [await server.finished(b'"%b"' % (b"x" * 3_000_000)) for _ in range(3)]
        seen, token, sizes = [], "", []
        while token or not seen:
            answer = await server.get(f"/v1/runs?order_by=created_at%20asc&page_token={token}")
            seen, token = seen + ids(answer), answer.json["next_page_token"]
            sizes.append(len(answer.body))
            assert (answer.json["has_more"], "link" in answer.headers) == (bool(token), bool(token))
        assert (seen, max(sizes) < 4 * 1024 * 1024) == (whole, True)
        assert len(ids(await server.post("/v1/runs:query", {}))) == 1


async def test_pages_of_long_logs_are_short_and_lead_on(serving):
    async with serving() as server:
        run_id = await server.running()
        for number in range(3):
            run = await server.service.of(1).runs.get(run_id)
            fields = {"number": number, "text": "x" * 1_500_000}
            await server.report(wire.LogReport(run_id=run_id, epoch=run.epoch, message="m", fields=fields))
        seen, after, more = [], 0, True
        while more:
            page = (await server.get(f"/v1/runs/{run_id}/logs?after={after}")).json
            seen.append([line["fields"]["number"] for line in page["data"]])
            after, more = page["next_after"], page["has_more"]
        assert seen == [[0, 1], [2]]


async def test_the_children_that_come_with_a_run_are_a_page_too(serving):
    async with serving() as server:
        parent = await server.running()
        for _ in range(2):
            await server.finished(b'"%b"' % (b"x" * 3_000_000), parent_id=parent)
        assert len((await server.get(f"/v1/runs/{parent}?expand=children")).json["children"]) == 1
        assert (await server.get(f"/v1/runs/{parent}/children")).json["has_more"]
