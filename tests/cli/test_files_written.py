"""The files of --html and --trace: whole, in place of no other file unless forced, never at the cost of the report."""

import os
import stat

import pytest

import archsim.report.page.page
from archsim.cli import DONE, WRONG, main

DECODE = ["simulate", "toy", "toy_llm", "--phase", "decode", "--context", "4"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys, *words, status=DONE):
    assert main([*DECODE, *words]) == status
    return capsys.readouterr()


def test_the_report_is_printed_and_the_page_written(here, capsys):
    plain = said(capsys)
    captured = said(capsys, "--html", "page.html")
    assert captured.out == plain.out
    assert captured.err == "wrote page.html\n"
    assert os.listdir(here) == ["page.html"]
    assert (here / "page.html").read_text().startswith("<!DOCTYPE html>")


@pytest.fixture(params=[("--html", "page"), ("--trace", "trace")], ids=lambda param: param[0])
def written(request):
    return request.param


def test_a_file_takes_the_place_of_an_earlier_one_and_of_no_other(written, here, capsys):
    option, kind = written
    said(capsys, option, "its.own")
    first = (here / "its.own").read_bytes()
    said(capsys, option, "its.own")
    assert (here / "its.own").read_bytes() == first
    for mine in ("", "mine", "<!DOCTYPE html>\n<title>mine</title>", '{"traceEvents": []}'):
        (here / "mine").write_text(mine)
        captured = said(capsys, option, "mine", status=WRONG)
        assert captured.out == "", "before anything is simulated"
        assert f"is there already and no {kind} of archsim; name another file, or give --force" in captured.err
        assert (here / "mine").read_text() == mine
    said(capsys, option, "mine", "--force")
    assert (here / "mine").read_bytes() == first


def test_it_goes_beside_json_and_a_folder(here, capsys):
    captured = said(capsys, "--json", "--output", "run", "--html", "page.html")
    assert captured.out.startswith("{")
    assert sorted(os.listdir(here)) == ["page.html", "run"]


def test_a_page_that_cannot_be_written_takes_no_report_away(here, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    captured = said(capsys, "--html", "page.html", status=WRONG)
    assert captured.out.startswith("toy · toy_llm")
    assert captured.err == "--html 'page.html': cannot be written: No space left on device\n"
    assert os.listdir(here) == []


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_pipe_or_a_device_is_left_alone(written, force, here, capsys):
    os.mkfifo(here / "pipe")
    for name in ("pipe", "/dev/null"):
        captured = said(capsys, written[0], name, *force, status=WRONG)
        assert captured.out == ""
        assert captured.err == f"{written[0]} {name!r}: cannot be written: is a device or a pipe; name a file\n"
    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)


def test_a_link_leads_to_the_file_that_it_names(written, here, capsys):
    said(capsys, written[0], "its.own")
    (here / "link").symlink_to("its.own")
    (here / "other").symlink_to("mine.txt")
    said(capsys, written[0], "link")
    assert (here / "link").is_symlink()
    (here / "mine.txt").write_text("mine")
    said(capsys, written[0], "other", status=WRONG)
    assert (here / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "-", "\0.html", "n" * 300, "no_folder/file"])
def test_names_that_no_file_can_have(written, name, here, capsys):
    captured = said(capsys, written[0], name, status=WRONG)
    assert captured.out == ""
    assert "cannot be written" in captured.err
    assert os.listdir(here) == []


def test_the_mark_of_a_page_stands_at_its_start(here, capsys):
    said(capsys, "--html", "page.html")
    page = (here / "page.html").read_text()
    assert archsim.report.page.page.GENERATOR in page[: archsim.report.page.page.FIRST]
