import numpy as np
import pytest
from PIL import Image

from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.image_encoder import ImageEncoder
from ecgveil.images import NOTICE, ImageSet, join_images, read_image, read_images, to_png, write_images
from ecgveil.kinds import unparted

RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(pixels, file, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file, **options)
    return file


def test_every_mode_becomes_the_same_grey(tmp_path):
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    files = [
        save(ramp, tmp_path / "grey.png"),
        save(np.stack([ramp] * 3, axis=-1), tmp_path / "rgb.png"),
        save(np.stack([ramp] * 3 + [np.full_like(ramp, 255)], axis=-1), tmp_path / "opaque.png"),
        save(ramp.astype(np.uint16) * 257, tmp_path / "sixteen.png"),
        save(ramp.astype(np.uint16) * 257, tmp_path / "sixteen.tif"),
        save(ramp.astype(np.int32) * 257, tmp_path / "long.tif"),
        save(ramp, tmp_path / "grey.bmp"),
    ]
    for file in files:
        assert np.abs(read_image(file, 64).astype(int) - ramp).max() <= 1, file.name


def test_transparency_is_laid_on_white(tmp_path):
    clear = np.zeros((20, 20, 4), np.uint8)
    assert (read_image(save(clear, tmp_path / "clear.png"), 16) == 255).all()
    palette = Image.new("P", (20, 20))
    palette.save(tmp_path / "palette.png", transparency=0)
    assert (read_image(tmp_path / "palette.png", 16) == 255).all()


def test_the_middle_square_is_taken_and_the_aspect_kept(tmp_path):
    wide = np.zeros((32, 96), np.uint8)
    wide[:, 32:64] = 200
    assert (read_image(save(wide, tmp_path / "wide.png"), 32) == 200).all()


def test_a_picture_lying_on_its_side_is_turned(tmp_path):
    half = np.zeros((32, 32), np.uint8)
    half[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    turned = read_image(save(half, tmp_path / "turned.png", exif=exif), 32)
    assert (turned[:, 20:] == 255).all()
    assert (turned[:, :12] == 0).all()


def test_bad_pictures_are_left_out_and_said(tmp_path):
    good = save(noise(40, 40), tmp_path / "good.png")
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:-200])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "notes.txt").write_text("no picture, and no suffix of one")
    save(noise(1, 1), tmp_path / "tiny.png")
    save(noise(40, 40).astype(np.float32), tmp_path / "float.tif")
    (tmp_path / "twice.png").write_bytes(good.read_bytes())
    images, skipped = read_images(tmp_path, 24)
    assert images.name == ("good.png",)
    assert images.pixels.shape == (1, 24, 24)
    told = dict(skipped)
    assert set(told) == {"cut.png", "empty.jpg", "text.png", "tiny.png", "float.tif", "twice.png"}
    assert told["tiny.png"] == "is 1 x 1 pixels, fewer than 8"
    assert told["twice.png"] == "shows the same as good.png"
    assert "cannot be read" in told["cut.png"]
    assert "unknown range" in told["float.tif"]


def test_a_decompression_bomb_is_left_out(tmp_path, monkeypatch):
    save(noise(60, 60), tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # 60 x 60 is beyond it, not twice it: a mere warning
    with pytest.raises(RecordError, match=r"holds no picture that can be read \(bomb.png: has more than 2000 pix"):
        read_images(tmp_path, 24)


def test_folders_without_pictures(tmp_path):
    with pytest.raises(RecordError, match="no such folder"):
        read_images(tmp_path / "absent", 24)
    with pytest.raises(RecordError, match="holds no picture that can be read; give a folder of .png"):
        read_images(tmp_path, 24)


def test_pictures_of_one_folder_are_of_one_person_where_there_are_many_folders(tmp_path):
    for person in range(12):
        for eye in "LR":
            save(noise(16, 16), tmp_path / f"{person:02d}" / f"{eye}.png")
    images, _ = read_images(tmp_path, 16)
    assert len(images) == 24
    assert images.patient_id[:4] == ("00", "00", "01", "01")
    few, _ = read_images(tmp_path / "00", 16)
    assert few.patient_id == few.name
    assert not unparted(images)
    assert not unparted(few)


def test_a_few_folders_are_no_people_and_that_is_said(tmp_path):
    for person in range(3):
        for number in range(4):
            save(noise(16, 16), tmp_path / str(person) / f"{number}.png")
    images, _ = read_images(tmp_path, 16)
    assert images.patient_id == images.name
    (told,) = unparted(images)
    assert "3 folders are fewer than the 10 people that a split needs" in told


def test_what_ecgveil_made_is_no_picture_to_learn_from(tmp_path):
    save(noise(16, 16), tmp_path / "real.png")
    (tmp_path / "made.png").write_bytes(to_png(noise(16, 16)))
    images, skipped = read_images(tmp_path, 16)
    assert images.name == ("real.png",)
    assert skipped == [("made.png", "was made by ecgveil: it shows nobody")]


def test_16_bit_levels_that_fill_12_are_not_taken_for_darkness(tmp_path):
    levels = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
    save(levels, tmp_path / "twelve.png")
    save(levels * 16, tmp_path / "sixteen.png")
    (tmp_path / "folder.png").mkdir()
    images, skipped = read_images(tmp_path, 16)
    assert images.name == ("sixteen.png",)
    assert dict(skipped) == {
        "twelve.png": f"has 16 bits and no level above {levels.max()}; stretch its levels to 65535",
        "folder.png": "is no file",
    }


def test_sets_are_joined_under_names_of_their_own():
    one, other = ImageSet(noise(2, 8, 8), ("a", "b")), ImageSet(noise(1, 8, 8), ("c",))
    assert join_images([one, other]).name == ("a", "b", "c")
    assert join_images([one, one]).name == ("1-a", "1-b", "2-a", "2-b")
    with pytest.raises(RecordError, match="differ in size"):
        join_images([one, ImageSet(noise(1, 9, 9), ("c",))])


def test_what_does_not_fit_is_refused():
    with pytest.raises(RecordError, match="they need .images, side, side"):
        ImageSet(noise(2, 8, 9), ("a", "b"))
    with pytest.raises(RecordError, match="1 names"):
        ImageSet(noise(2, 8, 8), ("a",))


def test_written_pictures_say_that_they_are_synthetic_and_read_back(tmp_path):
    images = ImageSet(noise(3, 16, 16), tuple(f"synthetic_{k:06d}" for k in range(3)))
    write_images(images, tmp_path)
    assert [file.stem for file in sorted(tmp_path.iterdir())] == list(images.name)
    for file, pixels in zip(sorted(tmp_path.iterdir()), images.pixels, strict=True):
        with Image.open(file) as opened:
            assert opened.text["Description"] == NOTICE
            assert np.array_equal(np.asarray(opened), pixels)
    assert to_png(images.pixels[0]).startswith(b"\x89PNG")


def test_the_encoder_is_exact():
    images = ImageSet(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), ("every level",))
    encoder = ImageEncoder.fit(images)
    tensor, _ = encoder.encode(images)
    assert tensor.shape == (1, *encoder.shape)
    assert (tensor.min(), tensor.max(), tensor.dtype) == (-1, 1, np.float32)
    again = ImageEncoder.from_json(encoder.to_json()).decode(tensor, first=7)
    assert np.array_equal(again.pixels, images.pixels)
    assert again.name == ("synthetic_000007",)
    with pytest.raises(ConfigError, match="takes 16 x 16 pixels, not 8 x 8"):
        encoder.encode(ImageSet(noise(1, 8, 8), ("a",)))
    with pytest.raises(RunError, match="damaged"):
        ImageEncoder.from_json({})
