"""python3 -m unittest discover tests"""

import tempfile
import unittest
from pathlib import Path

import engines
import witnesses

ID = "cmpl-req-7-0"


class Ids(unittest.TestCase):
    def test_ids_are_the_clients(self):
        for inside, outside in [
            ("cmpl-req-pull-0-2000-0-84b68235", "req-pull-0-2000"),
            ("cmpl-req-pull-0-2000-0", "req-pull-0-2000"),
            ("1776630401191380941", "1776630401191380941"),
            (None, None),
        ]:
            self.assertEqual(witnesses.outer(inside), outside)

    def test_registrations_are_read_from_what_python_shows(self):
        for name in (f"{ID}-0a0b0c0d", f"cmpl-{'x' * 25}-0-0a0b0c0d"):
            size = bytes([0xA0 + len(name)]) if len(name) < 32 else bytes([0xD9, len(name)])
            message = b"PUSH_REG:\x81\xaarequest_id" + size + name.encode() + b"\xab'rest"
            line = f"{{'peer': [b'HB:a', {message!r}]}}"
            self.assertEqual(witnesses.registrations(line), [witnesses.outer(name)], line)
        self.assertEqual(witnesses.registrations("{'peer': [b'cmpl-1:1']}"), [])


class Figures(unittest.TestCase):
    def test_what_is_not_said_is_not_wrong(self):
        held = engines.Held()
        self.assertEqual(str(held), "-")
        held.add(True, "")
        self.assertEqual(str(held), "1")
        held.add(None, "")
        self.assertEqual((str(held), held.wrong), ("1 of 2, 1 not said", []))
        held.add(False, "why")
        self.assertEqual((str(held), held.wrong), ("**1 of 3, 1 not said**", ["why"]))


class Logs(unittest.TestCase):
    def seen(self, lines, name="witness-7.tsv"):
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / name
            log.write_text("".join("\t".join(line) + "\n" for line in lines))
            return witnesses.witnessed([log])

    def test_a_log_tells_steps_posts_and_ranks(self):
        notif = f"b'{ID}-0a0b0c0d:1'"
        found = self.seen(
            [
                ("rank", "1", "0", "1", "runner"),
                ("step", "30", "40", "8192", f"{ID}-0a0b0c0d:8000;_warmup_0_:192"),
                ("gpu", "30", "8192", "0.5"),
                ("made", "50", "51", "agent", "1", "WRITE", "2", "300", "300", "2", "[1]", "1 of 1", notif),
                ("post", "52", "53", "agent", "1", "PROC"),
                ("state", "54", "55", "agent", "1", "PROC", "0"),
                ("state", "56", "57", "agent", "1", "DONE", "54"),
                ("made", "60", "61", "agent", "1", "WRITE", "2", "300", "300", "2", "[1]", "1 of 1", notif),
                ("raised", "62", "63", "transfer", "nixlRemoteDisconnectError()"),
                ("post", "7"),
            ]
        )
        self.assertEqual(found.ranks, {7: (1, 0)})
        self.assertEqual(found.steps, [witnesses.Step(7, 30, 40, {"req-7": 8000}, 500_000.0)])
        posts = [(post.start, post.request, post.bytes, post.is_done) for post in found.posts]
        self.assertEqual(posts, [(52, "req-7", 300, True), (62, "req-7", 300, False)])

    def test_the_bundled_form_has_its_process_first(self):
        lines = [("9", "make", "1", "2", "agent", "1", "WRITE", "36", "b'211_kv_0_1_0'"), ("9", "post", "3", "4", "agent", "1", "DONE")]
        posts = self.seen(lines, "sglang.tsv").posts
        self.assertEqual([(post.process, post.request, post.bytes, post.is_done) for post in posts], [(9, "211", None, True)])

    def test_steps_get_the_clients_ids_by_time_and_length(self):
        witness = witnesses.Witness(steps=[witnesses.Step(1, at, at + 1, {name: 100}) for at, name in ((5, "warm-up"), (15, "a"), (25, "b"))])
        client = [{"request": "1", "tokens": 100, "start_ns": 10}, {"request": "2", "tokens": 100, "start_ns": 11}]
        witnesses.renamed(witnesses.Recording("", Path(), {}, client, {}, witness))
        self.assertEqual([list(step.tokens) for step in witness.steps], [["warm-up"], ["1"], ["2"]])


if __name__ == "__main__":
    unittest.main()
