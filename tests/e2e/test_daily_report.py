"""The daily e-mail report of Tadabase's documentation, as an organisation of its own has it: nobody starts it, a schedule does."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tests.e2e.postbox import Postbox
from tests.faults.server import Server, decoded
from tests.faults.stores import ON_BOTH
from tests.faults.verdict import clean
from tests.faults.waiting import until

from headway.kernel.authority import GRANTABLE, OPERATING

ZONE = "Europe/Vienna"
TASK = "Daily Email Report"
NAMES = [f"Customer {number:02}" for number in range(24)]
EVIL = "Eve\r\nBcc: everybody@example.com"
"""The name of one who wants a header of her own."""


class Caller:
    """Somebody with a key, in either dialect."""

    def __init__(self, server, organisation, key):
        self.server = server
        _, key_id, secret = key.split("_", 2)
        self._native = {"authorization": f"Bearer {key}"}
        self._tadabase = {
            "X_Tadabase_App_id": organisation, "X_Tadabase_App_Key": key_id, "X_Tadabase_App_Secret": secret,
        }  # fmt: skip

    def native(self, method, path, body=None):
        return decoded(self.server.call(method, path, body, **self._native))

    def tadabase(self, path):
        answer = decoded(self.server.call("GET", f"/api/v1/tasks/{path}", None, **self._tadabase), 200)
        assert answer["type"] == "success"
        return answer["tasks"]


def shop_and_stranger(server):
    """Make two organisations; return who may everything in each."""
    admin = server.post("/v1/keys", {"name": "admin", "scopes": list(GRANTABLE)})
    first = Caller(server, admin["organisation"], admin["key"])
    scopes = [scope for scope in GRANTABLE if scope not in OPERATING]
    found = []
    for name in ("Shop", "Stranger"):
        made = first.native("POST", "/v1/organisations", {"name": name, "zone": ZONE})
        asked = {"name": name, "scopes": scopes, "organisation": made["id"]}
        found.append(Caller(server, made["id"], first.native("POST", "/v1/keys", asked)["key"]))
    return found


def furnish(shop, port):
    """Make customers, of whom one in four wants no mail, the mail server, and the task."""
    fields = [
        {"name": "Name"}, {"name": "Mail", "type": "email"}, {"name": "Orders", "type": "number"},
        {"name": "Report", "type": "boolean"}, {"name": "Sent", "type": "number", "default": 0},
    ]  # fmt: skip
    shop.native("POST", "/v1/tables", {"name": "customers", "fields": fields})
    rows = [
        {"Name": name, "Mail": f"c{number:02}@example.com", "Orders": number, "Report": number % 4 != 0}
        for number, name in enumerate([*NAMES, EVIL])
    ]
    rows[-1]["Report"] = True
    shop.native("POST", "/v1/tables/customers/records:batch", {"records": rows})
    mail_server = {"host": "127.0.0.1", "port": port, "security": "plain", "sender": "reports@shop.example"}
    shop.native("PUT", "/v1/mail-server", mail_server)
    send = {
        "action": "email", "to": "{{ record.Mail }}", "subject": "Daily report for {{ record.Name }}",
        "text": "You have {{ record.Orders }} orders.",
    }  # fmt: skip
    mark = {"action": "update", "set": {"Sent": {"template": "{{ record.Sent + 1 }}"}}}
    wanted = {"field": "Report", "operator": "is", "value": True}
    task = {"name": TASK, "table": "customers", "filter": wanted, "actions": [send, mark]}
    shop.native("POST", "/v1/record-tasks", task)
    return [row for row in rows if row["Report"]]


@ON_BOTH
def test_the_daily_report_is_sent_once_to_each_customer_when_its_time_has_come(deployment):
    with Postbox() as postbox:
        server = Server(deployment, HEADWAY_OUTBOUND_ALLOW="127.0.0.1").start()
        shop, stranger = shop_and_stranger(server)
        wanted = furnish(shop, postbox.port)
        at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
        asked = {"name": "report", "task": TASK, "occurrence": "Daily", "timezone": ZONE, "starts_at": at.isoformat()}
        schedule = shop.native("POST", "/v1/schedules", asked)
        assert shop.tadabase("status") == [], "its time has not come yet"

        (entry,) = until(lambda: shop.tadabase("status"), 20, "the schedule starts it")
        assert (entry["task_id"], entry["run_type"], entry["status"]) == (TASK, "Schedule", "start")
        run_id = entry["task_queue_id"]
        assert stranger.tadabase("status") == []
        until(lambda: shop.tadabase(f"status/queue/{run_id}")[0]["total_records"] == len(wanted), 20, "it has begun")
        postbox.open.set()

        def ended():
            (now,) = shop.tadabase(f"status/queue/{run_id}")
            return now if now["status"] != "start" else None

        done = until(ended, 60, "it ends")
        assert (done["status"], done["run_type"]) == ("complete", "Schedule"), done
        assert (done["total_records"], done["total_record_proceed"]) == (len(wanted), len(wanted))
        begun = datetime.fromisoformat(done["start_at"]).replace(tzinfo=ZoneInfo(ZONE))
        assert timedelta(0) <= begun - at < timedelta(seconds=20), "the time of a clock on the organisation's wall"
        (past,) = shop.tadabase("history")
        assert past == done
        assert past["task_name"] == TASK
        assert past["end_at"] >= past["start_at"]
        assert shop.tadabase(f"status/task/{quote(TASK)}") == [done]
        assert stranger.tadabase("history") == []

        got = Counter(address for recipients, _ in postbox.mails for address in recipients)
        assert got == Counter({row["Mail"]: 1 for row in wanted if row["Name"] != EVIL})
        for (address,), message in postbox.mails:
            (row,) = [row for row in wanted if row["Mail"] == address]
            assert message["Subject"] == f"Daily report for {row['Name']}"
            assert message["From"] == "reports@shop.example"
            assert message.get_body(("plain",)).get_content().strip() == f"You have {row['Orders']} orders."
        (failed,) = shop.native("GET", f"/v1/runs/{run_id}/record-errors")["data"]
        assert (failed["action"], failed["code"]) == (0, "bad_mail")
        assert "subject has a line break" in failed["message"]
        sent = {record["values"]["Name"]: record["values"]["Sent"] for record in records(shop)}
        assert sent == {name: int(number % 4 != 0) for number, name in enumerate(NAMES)} | {EVIL: 0}

        (slot,) = shop.native("GET", f"/v1/schedules/{schedule['id']}/slots")["data"]
        assert (slot["outcome"], slot["run_id"]) == ("ran", run_id)
        following = shop.native("GET", f"/v1/schedules/{schedule['id']}")["next_slot_at"]
        local = datetime.fromisoformat(following).astimezone(ZoneInfo(ZONE)).replace(tzinfo=None)
        assert local - at.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None) == timedelta(days=1)
        assert server.stop() == 0
    assert clean(deployment) == []


def records(caller):
    return caller.native("GET", "/v1/tables/customers/records?page_size=100")["data"]
