"""Download of a list of image-text pairs, with dead links, from a server on the loopback interface."""

from contextlib import nullcontext
from functools import partial

import pytest
from PIL import Image

from maskmill.data import pairs as module
from maskmill.data.pairs import check_share, download_pairs, read_links
from maskmill.data.shards import read_pairs
from maskmill.errors import InputError
from open_vocabulary import download_pairs as script


def links(image_server, *paths):
    return [(f"{image_server.url}{path}", f"caption of {path}") for path in paths]


def test_what_is_there_is_fetched_and_dead_links_are_reported(image_server, tmp_path):
    listed = links(image_server, "/20x30.jpg", "/gone.jpg", "/page", "/busy", "/40x30.jpg")
    pairs, report = download_pairs(listed, tmp_path, attempts=2, pause=0)
    assert [pair.caption for pair in pairs] == ["caption of /20x30.jpg", "caption of /40x30.jpg"]
    assert [Image.open(pair.image).size for pair in pairs] == [(30, 20), (30, 40)]
    dead = report.pop("dead")
    assert report == {"asked": 5, "got": 2, "failed": 3, "unanswered": {listed[3][0]: "HTTP 503"}}
    assert dead.keys() == {listed[1][0], listed[2][0]} and dead[listed[1][0]] == "HTTP 404"
    assert dead[listed[2][0]].startswith("not an image")
    assert image_server.asked["/gone.jpg"] == 1 and image_server.asked["/busy"] == 2, "404 is final, 503 is not"


def test_images_that_are_there_are_not_asked_for_again(image_server, tmp_path):
    listed = links(image_server, "/20x30.jpg", "/40x30.jpg")
    first, _ = download_pairs(listed[:1], tmp_path)
    pairs, report = download_pairs(listed, tmp_path)
    assert pairs[0] == first[0] and report["got"] == 2
    assert image_server.asked == {"/20x30.jpg": 1, "/40x30.jpg": 1}


def test_a_link_that_comes_twice_is_one_pair(image_server, tmp_path):
    url = f"{image_server.url}/20x30.jpg"
    pairs, report = download_pairs([(url, "first"), (url, "second")], tmp_path)
    assert [pair.caption for pair in pairs] == ["first"] and report["asked"] == 1


def test_an_answer_that_breaks_off_is_asked_for_again(image_server, tmp_path):
    [pair], _ = download_pairs(links(image_server, "/cut.jpg"), tmp_path, pause=0)
    assert Image.open(pair.image).size == (30, 40) and image_server.asked["/cut.jpg"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [pair.image.name]


def test_large_images_shrink_to_512_pixels_on_the_shorter_side(image_server, tmp_path):
    pairs, _ = download_pairs(links(image_server, "/600x1200.jpg"), tmp_path)
    assert Image.open(pairs[0].image).size == (1024, 512)


def test_a_server_that_is_not_there_does_not_answer(refused_url, tmp_path):
    _, report = download_pairs([(refused_url, "a")], tmp_path, pause=0)
    assert report["failed"] == 1 and "URLError" in report["unanswered"][refused_url] and report["dead"] == {}


def test_no_url_is_dead(tmp_path):
    _, report = download_pairs([("http://127.0.0.1:port/a.jpg", "a"), ("http://127.0.0.1/ä.jpg", "b")], tmp_path)
    assert all(reason.startswith("not a URL") for reason in report["dead"].values()) and len(report["dead"]) == 2


def test_a_folder_that_cannot_be_written_is_no_dead_link(image_server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/\w+\.jpg: cannot be written: File exists"):
        download_pairs(links(image_server, "/20x30.jpg"), tmp_path / "file")


def test_a_rate_limit_is_waited_for_as_the_server_asks(image_server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    image_server.limit, image_server.retry_after = 2, "7"
    listed = links(image_server, *(f"/{n}x30.jpg" for n in range(20, 27)))
    pairs, report = download_pairs(listed, tmp_path, threads=1)
    assert len(pairs) == 7 and report["failed"] == 0 and waits == [7, 7, 7]
    assert sum(image_server.asked.values()) == 10, (
        "7 images; the third link of 3 rounds was refused, the rest left alone"
    )


def test_a_link_that_is_refused_for_ever_does_not_hold_up_its_server(image_server, tmp_path):
    image_server.refused = "/20x30.jpg"
    listed = links(image_server, *(f"/{n}x30.jpg" for n in range(20, 40)))
    pairs, report = download_pairs(listed, tmp_path, threads=1, pause=0)
    assert len(pairs) == 19 and list(report["unanswered"].values()) == ["HTTP 429"]
    assert image_server.asked["/20x30.jpg"] == 5, "first of all, last of the second round, and alone in three rounds"


def test_an_outage_does_not_become_the_data_set(image_server, tmp_path, monkeypatch):
    image_server.limit = 2
    listed = links(image_server, *(f"/{n}x30.jpg" for n in range(20, 60)))
    list_file = tmp_path / "list.tsv"
    list_file.write_text("".join(f"{url}\t{caption}\n" for url, caption in listed))
    out = {"pairs": str(tmp_path / "1.csv"), "report": str(tmp_path / "1.json"), "folder": str(tmp_path / "images")}
    image_server.limited_for_ever = True
    given = {**out, "source": "cc12m", "links": str(list_file), "columns": ["url", "caption"], "threads": 1}
    monkeypatch.setattr(script, "download_pairs", partial(download_pairs, pause=0))
    with pytest.raises(
        InputError,
        match=r"list\.tsv: only 2 of 40 links gave an image, and min_share is 0\.6; "
        r"38 did not answer, 0 are dead \(most often HTTP 429\); run again later, what was downloaded is kept, or",
    ):
        script.main(**given)
    assert not (tmp_path / "1.csv").exists() and len(list((tmp_path / "images").iterdir())) == 2
    image_server.limit = None
    script.main(**given)
    assert len(read_pairs(tmp_path / "1.csv")) == 40
    assert image_server.asked["/20x30.jpg"] == 1


@pytest.mark.parametrize(("min_share", "enough"), [(0.6, True), (0.7, True), (0.75, False), (0, True)])
def test_the_user_sets_how_many_links_may_be_dead(min_share, enough):
    report = {"asked": 10, "got": 7, "failed": 3, "dead": {"a": "HTTP 404", "b": "HTTP 410"}, "unanswered": {"c": "x"}}
    with nullcontext() if enough else pytest.raises(InputError, match=r"7 of 10 .* min_share is 0\.75; 1 did"):
        check_share(report, min_share, "list.tsv")


@pytest.mark.parametrize("columns", [["url", "caption"], ["caption", "url"]])
def test_columns_of_cc12m_and_cc3m_are_told_by_name(tmp_path, columns):
    row = {"url": "https://a/b.jpg", "caption": 'a "quoted caption'}
    (tmp_path / "list.tsv").write_text("\t".join(row[name] for name in columns) + "\n")
    assert read_links(tmp_path / "list.tsv", columns) == [("https://a/b.jpg", 'a "quoted caption')]
    with pytest.raises(InputError, match=r"list\.tsv: line 1 is not"):
        read_links(tmp_path / "list.tsv", columns[::-1])


def test_lists_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(InputError, match=r"list\.tsv: no such list of links"):
        read_links(tmp_path / "list.tsv", ["url", "caption"])
    (tmp_path / "list.tsv").write_text("https://a/b.jpg\tgood\nhttps://a/c.jpg\n")
    with pytest.raises(InputError, match=r"list\.tsv: line 2 is not url, caption separated by tabs"):
        read_links(tmp_path / "list.tsv", ["url", "caption"])
