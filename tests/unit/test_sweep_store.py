"""The store of a sweep: rows under keys of all inputs, one writer at a time, and nothing lost."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mappers
from archsim import InputError, load_design, load_selection
from archsim.report.rows.row import Row
from kernels.selection.recordings import save_stream
from kernels.selection.streams import video_stream
from mappers.experiment import keys as keys_of_sweeps
from mappers.experiment.keys import Keys, canonical
from mappers.experiment.plan import plan_of
from mappers.experiment.store import Store
from mappers.extend import load_file
from mappers.registry import chosen_mapper

ROOT = Path(__file__).parents[2]
TOY = (ROOT / "designs/toy.yaml").read_text()
ASKED = {
    "over": {"context": [3, 4, 1000]}, "phase": "decode", "phases": None, "asked": {}, "search": "grid", "points": None,
    "seed": None, "goal": {}, "selection": None, "mapping": None, "options": None, "mapper": None, "engine": "auto",
}  # fmt: skip


def keys(design="toy", model="toy_llm", **more):
    return Keys(plan_of(design, model, **{**ASKED, **more}).request)


def key(design="toy", model="toy_llm", settings=None, **more):
    found = keys(design, model, **more)
    return found.of(found.opened(settings or {"context": 3}))


def swept(store, *, context=(3, 4, 1000), **more):
    done = []
    rows = mappers.sweep(
        "toy", "toy_llm", phase="decode", over={"context": list(context)}, store=store, progress=done.append, **more
    )
    return rows, [one.row["context"] for one in done if not one.stored]


def test_rows_of_a_store_are_those_that_were_made(tmp_path):
    store = tmp_path / "toy.db"
    rows, made = swept(store)
    assert made == [3, 4, 1000]
    again, made = swept(store, resume=True)
    assert made == []
    assert again.rows == rows.rows == swept(None)[0].rows
    more, made = swept(store, resume=True, context=(5, 3, 4, 1000))
    assert made == [5]
    assert more.rows[1:] == rows.rows
    with pytest.raises(InputError, match=r"has 4 rows; resume \(--resume\) goes on with them, or name another"):
        swept(store)
    assert not Path(f"{store}-wal").exists()


def test_a_store_serves_other_goals(tmp_path):
    """What is wanted of rows is no input of them."""
    swept(tmp_path / "toy.db")
    rows, made = swept(tmp_path / "toy.db", resume=True, least="seconds", constraints={"seconds": {"at_most": 0.00073}})
    assert made == []
    assert [row.status for row in rows] == ["done", "outside", "refused"]


def copy_of(folder, text, name="own.yaml"):
    (folder / name).write_text(text)
    return str(folder / name)


def test_one_changed_value_of_a_design_changes_the_key_and_order_and_comments_do_not(tmp_path):
    data = load_design("toy").document.data
    turned = json.loads(json.dumps(dict(reversed(data.items())), sort_keys=False))
    turned["units"] = dict(reversed(turned["units"].items()))
    same = [copy_of(tmp_path, TOY, "a.yaml"), copy_of(tmp_path, f"# a comment\n{TOY}", "b.yaml"),
            copy_of(tmp_path, json.dumps(turned), "c.json")]  # fmt: skip
    assert len({key(name) for name in ["toy", *same]}) == 1
    changed = [TOY.replace("1 MHz", "2 MHz"), TOY.replace("name: toy", "name: toi")]
    assert len({key(copy_of(tmp_path, text)) for text in [TOY, *changed]}) == 3


@pytest.mark.parametrize("where", ["designs/toy_retrieval.yaml", "designs/models/toy_video.yaml",
                                   "designs/selections/resv.yaml"])  # fmt: skip
def test_every_changed_value_of_every_file_changes_the_key(tmp_path, where):
    """Each value of each file, one at a time: numbers plus one, texts with another letter, true as false."""
    document = {
        "designs/toy_retrieval.yaml": lambda: load_design("toy_retrieval").document.data,
        "designs/models/toy_video.yaml": lambda: mappers.experiment.run.load_workload("toy_video").model_dump(),
        "designs/selections/resv.yaml": lambda: load_selection("resv").document.data,
    }[where]()
    seen = {json.dumps(canonical(document), sort_keys=True)}
    for variant in changed_once(document):
        seen.add(json.dumps(canonical(variant), sort_keys=True))
    assert len(seen) == 1 + sum(1 for _ in changed_once(document)) > 10


def changed_once(data):
    """The data with one value changed, for each value."""
    for at, value in data.items() if isinstance(data, dict) else enumerate(data):
        if isinstance(value, dict | list):
            for inside in changed_once(value):
                yield {**data, at: inside} if isinstance(data, dict) else [*data[:at], inside, *data[at + 1 :]]
            continue
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"
        yield {**data, at: other} if isinstance(data, dict) else [*data[:at], other, *data[at + 1 :]]


def test_every_part_of_what_is_asked_changes_the_key(monkeypatch):
    resv = {"design": "toy_retrieval", "model": "toy_video", "phase": "frame", "settings": {"context": 20}}
    found = [
        key(), key(settings={"context": 4}), key(settings={"context": 3.0}), key(settings={"context": True}),
        key(settings={"context": "3"}), key(model="toy_video"), key(asked={"batch": 2}), key(engine="simpy"),
        key(phase="prefill", over={"prompt": [3]}, settings={"prompt": 3}), key(mapper="tiled"),
        key(settings={"context": 3, "units.mm.macs_per_cycle": 2}), key(settings={"context": 3, "model.layers": 1}),
        key(mapping=load_design("toy").own_mapping("toy_llm")), key(**resv), key(**resv, selection="resv"),
        key(**resv, selection="full"), key(**resv, selection=load_selection("resv").with_({"settings.ratio": 0.4})),
        key(**resv, selection="resv", options={"layout": "clustered"}),
        key(**{**resv, "settings": {"context": 20, "selection": "resv"}}),
        key(**{**resv, "settings": {"context": 20, "selection": "full"}}),
    ]  # fmt: skip
    monkeypatch.setattr(keys_of_sweeps, "code_hash", lambda: "another version")
    found.append(key())
    assert len(set(found)) == len(found)
    assert key(settings={"b": 1, "a": 2}) == key(settings={"a": 2, "b": 1})


def test_a_selection_by_name_and_as_an_object_is_one_input(tmp_path):
    own = copy_of(tmp_path, (ROOT / "designs/selections/resv.yaml").read_text())
    asked = {"design": "toy_retrieval", "model": "toy_video", "phase": "frame"}
    chosen = ["resv", load_selection("resv"), own]
    assert len({key(**asked, settings={"context": 20, "selection": one}) for one in chosen}) == 1


def test_a_changed_recording_changes_the_key(tmp_path):
    path = tmp_path / "keys.npz"
    asked = {"design": "toy_retrieval", "model": "toy_video", "phase": "frame"}
    found = []
    for seed in (0, 1):
        stream = video_stream(seed, 8, heads=2, kv_heads=1, head_dim=2)
        path.unlink(missing_ok=True)
        save_stream(path, stream)
        given = load_selection("resv").with_({"recording": str(path)})
        found.append(key(**asked, selection=given, settings={"context": 20}))
        found.append(key(**asked, selection="resv", settings={"context": 20, "selection.recording": str(path)}))
    assert len(set(found)) == 4


@pytest.mark.usefixtures("added")
def test_a_changed_file_of_with_changes_the_key(tmp_path):
    own = tmp_path / "own.py"
    found = [key()]
    for text in ("x = 1\n", "x = 2\n"):
        own.write_text(text)
        load_file(str(own))
        found.append(key())
    assert len(set(found)) == 3


@pytest.mark.usefixtures("added")
def test_what_has_no_file_has_no_key(tmp_path):
    from tests.extensions.top_k_sorter import TopKSorter

    mappers.extend(kinds=[TopKSorter])
    with pytest.raises(InputError, match=r"store: kind '\w+': added by a call of extend.* put it into a file"):
        swept(tmp_path / "toy.db")
    assert not (tmp_path / "toy.db").exists()


def test_values_that_json_has_not_have_keys():
    values = [float("nan"), float("inf"), 10**5000, b"x", {1}, (1, 2), [1, [2]], {"a": {1: 2}}, np.float64(2.5), None]
    assert len({json.dumps(canonical(value)) for value in values}) == len(values)


def test_what_changed_is_told(tmp_path, caplog):
    store = tmp_path / "toy.db"
    swept(store)
    own = copy_of(tmp_path, TOY.replace("1 MHz", "2 MHz"))
    rows = mappers.sweep(own, "toy_llm", phase="decode", over={"context": [3, 4]}, store=store, resume=True)
    assert [row["cycles"] for row in rows] == [726, 758]
    assert caplog.messages == [f"3 rows in {store} are of other inputs, and stay unused; changed: design"]


HOLD = """
import sys, time
from mappers.experiment.store import Store
with Store(sys.argv[1], inputs={"a": "b"}, base="c", resume=True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_who_has_the_store(tmp_path):
    store = tmp_path / "toy.db"
    swept(store)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, store], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"is in use by process {holder.pid} of \w+ on .+, since 20.+; wait"):
            swept(store, resume=True)
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as reader:
            assert reader.execute("SELECT count(*) FROM rows").fetchone() == (3,)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert swept(store, resume=True)[1] == []  # the system frees what a dead process held
    finally:
        holder.kill()


def test_a_user_without_a_name_has_a_store(tmp_path, monkeypatch):
    def nameless():
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr("mappers.experiment.store.getpass.getuser", nameless)
    swept(tmp_path / "toy.db")
    with sqlite3.connect(tmp_path / "toy.db") as database:
        assert f" of user {os.getuid()} on " in database.execute("SELECT told FROM owner").fetchone()[0]
    database.close()


def test_files_that_are_no_stores_are_refused_and_left_alone(tmp_path):
    text = copy_of(tmp_path, "not a store", "a.db")
    other = tmp_path / "b.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for path in (text, other):
        before = Path(path).read_bytes()
        with pytest.raises(InputError, match="is no store of a sweep; name another file"):
            swept(path, resume=True)
        assert Path(path).read_bytes() == before
    with pytest.raises(InputError, match=r"no folder .*none; make it first"):
        swept(tmp_path / "none" / "toy.db")
    with pytest.raises(InputError, match="is no plain file; name one"):
        swept(tmp_path)
    newer = tmp_path / "c.db"
    swept(newer)
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(InputError, match="has form 99, and this archsim writes 1; name another file"):
        swept(newer, resume=True)


FULL = """
import resource, signal, sys
import mappers
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    mappers.sweep("toy", "toy_llm", phase="decode", over={"context": list(range(2, 60))}, store=sys.argv[1])
except mappers.experiment.store.InputError as error:
    print(error)
"""


def test_a_full_disk_is_told_and_the_store_stays_whole(tmp_path):
    """A limit on the size of a file stands for the end of the disk."""
    store = tmp_path / "toy.db"
    told = subprocess.run([sys.executable, "-c", FULL, store], cwd=ROOT, capture_output=True, text=True)
    assert told.stderr == ""
    assert told.stdout.startswith(f"store {store}: ")
    assert "the rows written before are safe, and resume (--resume) goes on from them" in told.stdout
    whole = sqlite3.connect(store)
    assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    (kept,) = whole.execute("SELECT count(*) FROM rows").fetchone()
    whole.close()
    assert 0 < kept < 58
    over = {"context": list(range(2, 60))}
    done = []
    rows = mappers.sweep("toy", "toy_llm", phase="decode", over=over, store=store, resume=True, progress=done.append)
    assert sum(one.stored for one in done) == kept
    assert rows.rows == mappers.sweep("toy", "toy_llm", phase="decode", over=over).rows


def test_lost_rows_run_again(tmp_path):
    with Store(tmp_path / "toy.db", inputs={"a": "b"}, base="c", resume=False) as store:
        store.put("x", Row({"context": 3}, status="lost", problem="died"))
        store.put("y", Row({"context": 4}, status="fault", problem="fault"))
        store.put("z", Row({"context": 4}, status="refused", problem="refused"))
        assert store.row("x", {}) is store.row("y", {}) is None
        assert store.row("z", {"context": 4}).status == "refused"
    with pytest.raises(InputError, match="is closed; sweep again with resume"):
        store.row("y", {})




def test_a_guided_sweep_is_rebuilt_from_its_store(tmp_path):
    """Optuna keeps nothing: told the rows of the store, it asks for the same points again, and then for the rest."""
    asked = {
        "over": {"context": {"from": 2, "to": 64}, "units.ddr.bandwidth": {"from": "1 B/cycle", "to": "9 B/cycle"}},
        "phase": "decode", "search": "optuna", "points": 30, "seed": 5, "least": "seconds",
        "constraints": {"utilization.mm": {"at_most": 0.55}}, "store": tmp_path / "toy.db",
    }  # fmt: skip
    rows = mappers.sweep("toy", "toy_llm", **asked)
    assert {row.status for row in rows} == {"done", "outside"}
    with sqlite3.connect(asked["store"]) as database:
        database.execute("DELETE FROM rows WHERE rowid > 11")  # as where it was killed in the second batch
    database.close()
    done = []
    again = mappers.sweep("toy", "toy_llm", **asked, resume=True, jobs=2, progress=done.append)
    assert again.rows == rows.rows
    assert [one.place for one in done if one.stored] == list(range(11))


RETRIEVAL = {"design": "toy_retrieval", "model": "toy_video", "phase": "frame"}


def recorded(path, seed):
    path.unlink(missing_ok=True)
    save_stream(path, video_stream(seed, 40, heads=2, kv_heads=2, head_dim=2))


def test_a_recording_counts_wherever_its_selection_comes_from(tmp_path):
    path = tmp_path / "keys.npz"
    given = load_selection("resv").with_({"recording": str(path)})
    found = []
    for seed in (0, 1):
        recorded(path, seed)
        found += [
            key(**RETRIEVAL, options={"selection": given}, settings={"context": 20}),
            key(**RETRIEVAL, settings={"context": 20, "option.selection": given}),
            key(**RETRIEVAL, mapper=chosen_mapper(load_design("toy_retrieval"), None, {"selection": given}),
                settings={"context": 20}),
        ]  # fmt: skip
    assert len(set(found)) == 6


def test_a_file_that_changes_while_the_sweep_runs_gives_no_stale_row(tmp_path):
    """A selection is read once for all its points; of a recording that changes no row is kept."""
    own = tmp_path / "own.yaml"
    full, resv = ((ROOT / f"designs/selections/{name}.yaml").read_text() for name in ("full", "resv"))
    own.write_text(resv)
    asked = {"over": {"selection": [str(own)], "context": [20, 64]}, "phase": "frame", "store": tmp_path / "a.db"}
    rows = mappers.sweep("toy_retrieval", "toy_video", **asked, progress=lambda _: own.write_text(full))
    own.write_text(resv)
    assert rows.rows == mappers.sweep("toy_retrieval", "toy_video", **asked, resume=True).rows
    del asked["store"]
    assert rows.rows == mappers.sweep("toy_retrieval", "toy_video", **asked).rows

    path = tmp_path / "keys.npz"
    recorded(path, 0)
    asked = {"over": {"context": [20, 24]}, "phase": "frame", "store": tmp_path / "b.db",
             "selection": load_selection("resv").with_({"recording": str(path)})}  # fmt: skip
    with pytest.raises(InputError, match="a recording changed while the sweep ran"):
        mappers.sweep("toy_retrieval", "toy_video", **asked, progress=lambda _: recorded(path, 1))
    done = []
    mappers.sweep("toy_retrieval", "toy_video", **asked, resume=True, progress=done.append)
    assert [one.stored for one in done] == [False, False]


def test_the_order_of_entries_of_a_mapping_counts():
    data = {"layer*.[qk]": {"buffers": 1}, "layer*.[kv]": {"buffers": 2}}
    turned = dict(reversed(data.items()))
    own = load_design("toy").own_mapping("toy_llm")
    assert key(mapping=own.with_({"ops": data})) != key(mapping=own.with_({"ops": turned}))
    assert key(settings={"mapping.ops": data}) != key(settings={"mapping.ops": turned})


def test_equal_points_run_once(tmp_path):
    begun = []
    rows = mappers.sweep(
        "toy", "toy_llm", phase="decode", over={"context": [3, 4, 3]}, store=tmp_path / "a.db", progress=begun.append
    )
    assert [row["cycles"] for row in rows] == [726, 758, 726]
    with sqlite3.connect(tmp_path / "a.db") as database:
        assert database.execute("SELECT count(*) FROM rows").fetchone() == (2,)
    database.close()
    assert [one.row["context"] for one in begun] == [3, 3, 4]


def test_a_store_that_goes_away_is_told(tmp_path):
    store = tmp_path / "toy.db"
    with pytest.raises(InputError, match=r"toy\.db: was moved or removed while the sweep ran, and rows with it"):
        mappers.sweep("toy", "toy_llm", phase="decode", over={"context": [3, 4]}, store=store,
                      progress=lambda _: store.unlink())  # fmt: skip


def test_a_store_has_one_writer_by_whatever_name(tmp_path):
    store, link = tmp_path / "toy.db", tmp_path / "link.db"
    swept(store)
    link.symlink_to(store)
    with Store(link, inputs={}, base="x", resume=True), pytest.raises(InputError, match="is in use by process"):
        swept(store, resume=True)


def test_nothing_of_the_users_is_taken_for_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "own.db-wal").write_text("mine")
    for name, told in {
        "pipe": "is no plain file; name one", "/dev/null": "is no plain file", "own.db": "own.db-wal is there already",
        "a\0b": "cannot be read: embedded null", "n" * 300: "cannot be",
    }.items():  # fmt: skip
        with pytest.raises(InputError, match=told):
            swept(name)
    assert (tmp_path / "own.db-wal").read_text() == "mine"
    assert not os.path.exists("/dev/null.lock")
    swept(":memory:")
    assert (tmp_path / ":memory:").is_file()


def test_edited_and_damaged_stores(tmp_path):
    store = tmp_path / "toy.db"
    rows, _ = swept(store)
    with sqlite3.connect(store) as database:
        database.execute("UPDATE rows SET figures = '{' WHERE rowid = 1")
        database.execute("DELETE FROM inputs")
    database.close()
    again, made = swept(store, resume=True)
    assert (made, again.rows) == ([3], rows.rows)
    with sqlite3.connect(store) as database:
        database.execute("UPDATE rows SET inputs = 'gone'")
    database.close()
    swept(store, resume=True)
    whole = store.read_bytes()
    store.write_bytes(whole[:4096] + b"x" * (len(whole) - 4096))
    with pytest.raises(InputError, match="is damaged; name another store, or a copy of this one from before"):
        swept(store, resume=True)


def test_values_of_any_size_are_rows(tmp_path):
    over = {"units.mm.macs_per_cycle": [10**5000, 1], "name": ["a\ud800"]}
    rows = mappers.sweep("toy", "toy_llm", phase="decode", over=over, context=3, jobs=2, store=tmp_path / "a.db")
    assert rows[0].status in ("refused", "fault")
    assert "more than 60 digits" in str(rows)
    for suffix in ("csv", "json"):
        rows.export(tmp_path / f"rows.{suffix}")
