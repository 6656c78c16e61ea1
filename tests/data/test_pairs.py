"""Download of a list of image-text pairs, with dead links, from a server on the loopback interface."""

import pytest
from PIL import Image

from maskmill.data.pairs import download_pairs, read_links
from maskmill.errors import InputError


def links(image_server, *paths):
    return [(f"{image_server.url}{path}", f"caption of {path}") for path in paths]


def test_what_is_there_is_fetched_and_dead_links_are_reported(image_server, tmp_path):
    asked = links(image_server, "/20x30.jpg", "/gone.jpg", "/page", "/busy", "/40x30.jpg")
    pairs, report = download_pairs(asked, tmp_path)
    assert [pair.caption for pair in pairs] == ["caption of /20x30.jpg", "caption of /40x30.jpg"]
    assert [Image.open(pair.image).size for pair in pairs] == [(30, 20), (30, 40)]
    dead = report.pop("dead")
    assert report == {"asked": 5, "got": 2, "failed": 3}
    assert dead[asked[1][0]] == "HTTP 404" and dead[asked[3][0]] == "HTTP 503"
    assert dead[asked[2][0]].startswith("not an image")
    assert image_server.asked["/gone.jpg"] == 1 and image_server.asked["/busy"] == 2, "404 is final, 503 is not"


def test_images_that_are_there_are_not_asked_for_again(image_server, tmp_path):
    asked = links(image_server, "/20x30.jpg", "/40x30.jpg")
    first, _ = download_pairs(asked[:1], tmp_path)
    pairs, report = download_pairs(asked, tmp_path)
    assert pairs[0] == first[0] and report["got"] == 2
    assert image_server.asked == {"/20x30.jpg": 1, "/40x30.jpg": 1}


def test_a_link_that_comes_twice_is_one_pair(image_server, tmp_path):
    url = f"{image_server.url}/20x30.jpg"
    pairs, report = download_pairs([(url, "first"), (url, "second")], tmp_path)
    assert [pair.caption for pair in pairs] == ["first"] and report["asked"] == 1


def test_an_answer_that_breaks_off_is_asked_for_again(image_server, tmp_path):
    [pair], _ = download_pairs(links(image_server, "/cut.jpg"), tmp_path)
    assert Image.open(pair.image).size == (30, 40) and image_server.asked["/cut.jpg"] == 2
    assert [path.name for path in tmp_path.iterdir()] == [pair.image.name]


def test_large_images_shrink_to_512_pixels_on_the_shorter_side(image_server, tmp_path):
    pairs, _ = download_pairs(links(image_server, "/600x1200.jpg"), tmp_path)
    assert Image.open(pairs[0].image).size == (1024, 512)


def test_a_server_that_is_not_there_is_a_dead_link(refused_url, tmp_path):
    _, report = download_pairs([(refused_url, "a")], tmp_path)
    assert report["failed"] == 1 and "URLError" in report["dead"][refused_url]


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
