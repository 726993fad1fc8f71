"""The page of --html: written whole, in place of no other file unless forced, and never at the cost of the report."""

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


def test_a_page_takes_the_place_of_an_earlier_one_and_of_no_other_file(here, capsys):
    said(capsys, "--html", "page.html")
    first = (here / "page.html").read_bytes()
    said(capsys, "--html", "page.html")
    assert (here / "page.html").read_bytes() == first
    for mine in ("", "mine", "<!DOCTYPE html>\n<title>mine</title>"):
        (here / "mine.html").write_text(mine)
        captured = said(capsys, "--html", "mine.html", status=WRONG)
        assert captured.out == "", "before anything is simulated"
        assert "is there already and no page of archsim" in captured.err
        assert (here / "mine.html").read_text() == mine
    said(capsys, "--html", "mine.html", "--force")
    assert (here / "mine.html").read_bytes() == first


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
def test_a_pipe_or_a_device_is_left_alone(force, here, capsys):
    os.mkfifo(here / "pipe")
    for name in ("pipe", "/dev/null"):
        captured = said(capsys, "--html", name, *force, status=WRONG)
        assert captured.out == ""
        assert captured.err == f"--html {name!r}: cannot be written: is a device or a pipe; name a file\n"
    assert stat.S_ISFIFO((here / "pipe").stat().st_mode)


def test_a_link_leads_to_the_page_that_it_names(here, capsys):
    said(capsys, "--html", "page.html")
    (here / "link.html").symlink_to("page.html")
    (here / "other.html").symlink_to("mine.txt")
    said(capsys, "--html", "link.html")
    assert (here / "link.html").is_symlink()
    (here / "mine.txt").write_text("mine")
    said(capsys, "--html", "other.html", status=WRONG)
    assert (here / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "\0.html", "n" * 300])
def test_names_that_no_file_can_have(name, here, capsys):
    captured = said(capsys, "--html", name, status=WRONG)
    assert captured.out == ""
    assert "cannot be written" in captured.err
    assert os.listdir(here) == []


def test_the_mark_of_a_page_stands_at_its_start(here, capsys):
    said(capsys, "--html", "page.html")
    page = (here / "page.html").read_text()
    assert archsim.report.page.page.GENERATOR in page[: archsim.report.page.page.FIRST]
