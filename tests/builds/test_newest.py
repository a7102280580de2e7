"""python3 -m unittest discover tests/builds"""

import contextlib
import http.server
import io
import json
import os
import re
import tempfile
import threading
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import index
import newest

RULE = {"file": "a/*.py", "what": "names the request", "code": "x.rs"}


class Versions(unittest.TestCase):
    def test_final_versions_are_in_order(self):
        rising = ["0.9", "0.10.0", "0.10.1", "0.10.1.post1", "0.10.1.post2", "1.0"]
        self.assertEqual(sorted(reversed(rising), key=index.order), rising)
        self.assertEqual(index.order("1.0"), index.order("1.0.0"))
        for other in ("1.0rc1", "1.0.dev3", "1.0+cu12", "1.0a1", ""):
            self.assertIsNone(index.order(other), other)

    def test_newest_is_one_that_fits_and_was_not_taken_back(self):
        def wheel(name, is_yanked=False):
            return index.File(name, "", "", is_yanked)

        files = [
            wheel("p-1.9.0-cp312-cp312-manylinux_2_28_x86_64.whl"),
            wheel("p-1.10.0-cp312-cp312-manylinux_2_28_aarch64.whl"),
            wheel("p-1.10.0-cp38-abi3-manylinux_2_28_x86_64.whl"),
            wheel("p-1.10.0-cp313-cp313-manylinux_2_28_x86_64.whl"),
            wheel("p-1.11.0-cp312-cp312-win_amd64.whl"),
            wheel("p-1.12.0rc1-py3-none-any.whl"),
            wheel("p-1.12.0-py3-none-any.whl", True),
        ]
        self.assertEqual(index.newest(files), files[2])
        self.assertIsNone(index.newest(files[4:]))

    def test_both_forms_of_an_index_are_read(self):
        page = "https://index.example/simple/p/"
        listed = [{"filename": "p-1.0-py3-none-any.whl", "url": "../../f/p-1.0-py3-none-any.whl", "yanked": "broken"}]
        listed += [{"filename": "p-1.0.tar.gz", "url": "p-1.0.tar.gz"}]
        expected = index.File("p-1.0-py3-none-any.whl", "https://index.example/f/p-1.0-py3-none-any.whl", "", True)
        self.assertEqual(index.of_json(json.dumps({"files": listed}).encode(), page), [expected])
        html = '<a href="../../f/p-1.0-py3-none-any.whl" data-yanked="">p</a><a href="p-1.0.tar.gz">q</a>'
        self.assertEqual(index.of_html(html, page), [expected])


class Rules(unittest.TestCase):
    def texts(self, rule, files):
        return newest.moved_texts([RULE | rule], list(files), lambda name: files[name])

    def test_texts_are_there_or_are_not(self):
        files = {"a/one.py": b"", "a/two.py": b"x = 1\nPREFIX = b'HB:'\n", "b.py": b""}
        self.assertEqual(self.texts({"has": "^PREFIX = b'HB:'"}, files), [])
        self.assertEqual(self.texts({"has_not": "GONE"}, files), [])
        (moved,) = self.texts({"has": "^GONE"}, files)
        self.assertRegex(moved, r"a/\*\.py has no longer /\^GONE/ \(names the request\); .* x\.rs")
        (moved,) = self.texts({"has_not": "HB:"}, files)
        self.assertIn("now has /HB:/", moved)
        (moved,) = self.texts({"has": "x"}, {"b.py": b"x"})
        self.assertIn("a/*.py is gone", moved)

    def test_libraries_are_of_a_known_build_or_have_the_symbols(self):
        rule = {"file": "*/lib.so", "what": "probes", "todo": "measure"}
        table = lambda path, library: ({"known"}, ["post", "status"])

        def moved(more, build_id, functions):
            return newest.moved_libraries([rule | more], ["n/lib.so"], lambda name: (build_id, functions), table)

        self.assertEqual(moved({"table": "builds.toml"}, "known", set()), [])
        unknown = moved({"table": "builds.toml"}, "new", {"post"})
        self.assertEqual(len(unknown), 2)
        self.assertIn("Build ID new is not in builds.toml (probes): measure", unknown[0])
        self.assertIn("status is gone", unknown[1])
        self.assertEqual(moved({"symbols": ["post"]}, None, {"post"}), [])
        self.assertEqual(len(moved({"symbols": ["post", "free"]}, None, {"post"})), 1)
        self.assertEqual(len(newest.moved_libraries([rule], [], None, table)), 1)


class Data(unittest.TestCase):
    def test_the_data_file_holds(self):
        projects = newest.load(newest.DATA.read_text())
        self.assertEqual(newest.offline(projects), [])
        ids, symbols = newest.builds("agent/src/capture/nixl/builds.toml", "libnixl.so")
        self.assertTrue(all(re.fullmatch("[0-9a-f]{40}", each) for each in ids))
        self.assertTrue(any("postXferReq" in each for each in symbols))

    def test_what_is_wrong_with_a_data_file_is_said(self):
        head = '[[project]]\nname = "p"\nversion = "1.0"\nreleased = 2026-01-01\nlooked = 2026-01-01\nhow = "read"\n'
        text = '[[project.text]]\nfile = "f"\nwhat = "w"\ncode = "c"\n'
        self.assertEqual(len(newest.load(head)), 1)
        for wrong, said in [
            ("", "project"),
            ("[[project]]", "no `name`"),
            (head.replace("1.0", "1.0rc1"), "no final version"),
            (head + text, "`has` or `has_not`"),
            (head + text + "has = '('", "unterminated|missing"),
            (head + text.replace("what", "why") + "has = 'x'", "no `what`"),
            ("no toml", ""),
        ]:
            with self.assertRaisesRegex(newest.Malformed, said):
                newest.load(wrong)


class Server(http.server.BaseHTTPRequestHandler):
    """An index of one wheel, with ranges or without."""

    files: dict[str, bytes] = {}
    knows_ranges = True

    def do_GET(self):
        body = self.files.get(self.path)
        if body is None:
            return self.send_error(404)
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")) if self.knows_ranges else None
        self.send_response(206 if asked else 200)
        if asked:
            start = int(asked[1]) if asked[1] else max(0, len(body) - int(asked[2]))
            end = int(asked[2]) + 1 if asked[1] else len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(body)}")
            body = body[start:end]
        self.send_header("Content-Type", index.JSON if self.path.endswith("/") else "application/zip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Whole(unittest.TestCase):
    """The program against an index."""

    DATA = """
        [[project]]
        name = "engine"
        version = "1.0"
        released = 2026-01-01
        looked = 2026-01-02
        how = "read"
        [[project.text]]
        file = "engine/notif.py"
        has = 'HB:'
        what = "heartbeats"
        code = "tests/builds/newest.py"
    """

    def setUp(self):
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("engine/notif.py", "PREFIX = 'HB:'\n")
            archive.writestr("engine/weights.bin", os.urandom(4 * index.CHUNK))
            archive.writestr("engine/end.py", "")
        name = "engine-1.1-py3-none-any.whl"
        listing = {"files": [{"filename": name, "url": f"../../f/{name}", "upload-time": "2026-02-01T00:00:00Z"}]}
        Server.files = {"/simple/engine/": json.dumps(listing).encode(), f"/f/{name}": wheel.getvalue()}
        Server.knows_ranges = True
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)

    def run_it(self, *arguments, data=DATA):
        url = f"http://127.0.0.1:{self.server.server_port}/simple"
        out, err = io.StringIO(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            path = Path(folder) / "newest.toml"
            path.write_text(data)
            environ = mock.patch.dict(os.environ, {"PIP_INDEX_URL": url, "no_proxy": "*"})
            with environ, mock.patch.object(newest, "DATA", path), mock.patch("sys.argv", ["newest", *arguments]):
                return newest.main(), out.getvalue(), err.getvalue()

    def test_a_new_release_is_said_and_read_in(self):
        code, out, _ = self.run_it()
        self.assertEqual(code, 1)
        self.assertIn("! engine 1.1 (2026-02-01) is newer than 1.0", out)
        self.assertIn("1 rules, 0 moved, 0.1 of 1 MB", out, "not all of it is fetched")

    def test_what_moved_is_said(self):
        code, out, _ = self.run_it(data=self.DATA.replace("'HB:'", "'BEAT:'"))
        self.assertEqual(code, 1)
        self.assertIn("! engine 1.1: engine/notif.py has no longer /BEAT:/ (heartbeats)", out)

    def test_what_was_looked_at_is_read_only_when_asked_for(self):
        data = self.DATA.replace('"1.0"', '"1.1"')
        code, out, _ = self.run_it(data=data)
        self.assertEqual((code, "rules" in out), (0, False))
        code, out, _ = self.run_it("--all", data=data)
        self.assertEqual((code, "1 rules, 0 moved" in out), (0, True))
        self.assertEqual(self.run_it(data=data.replace('"1.1"', '"1.2"'))[0], 1, "the newest is older")

    def test_a_server_without_ranges_gives_the_whole_wheel(self):
        Server.knows_ranges = False
        code, out, _ = self.run_it()
        self.assertEqual((code, "0.5 of 1 MB" in out), (1, True), out)

    def test_no_index_is_said_in_words(self):
        self.server.shutdown()
        self.server.server_close()
        code, out, err = self.run_it()
        self.assertEqual((code, out), (2, ""))
        self.assertIn("127.0.0.1", err)
        self.assertIn("cannot be reached", err)

    def test_an_index_without_the_project_is_said(self):
        Server.files = {}
        code, _, err = self.run_it()
        self.assertEqual((code, "answers 404" in err), (2, True))
        Server.files = {"/simple/engine/": b"<html>"}
        code, _, err = self.run_it()
        self.assertEqual((code, "cannot be read" in err), (2, True), err)

    def test_names_and_passwords_are_not_printed(self):
        Server.files = {}
        with mock.patch.dict(os.environ, {"no_proxy": "*"}):
            with self.assertRaises(index.Unreachable) as raised:
                index.Index(f"http://me:secret@127.0.0.1:{self.server.server_port}/simple").files("engine")
        self.assertNotIn("secret", str(raised.exception))

    def test_an_unknown_project_is_said(self):
        code, _, err = self.run_it("--only", "motor")
        self.assertEqual((code, "motor" in err), (2, True))
        self.assertEqual(self.run_it("--offline")[0], 0)


if __name__ == "__main__":
    unittest.main()
