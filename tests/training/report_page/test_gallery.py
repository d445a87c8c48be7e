import base64
import io

import numpy as np
from PIL import Image

from model_zoo.labels import voc_palette
from training.datasets import LabelSpace, Sample
from training.evaluation.extremes import ScoredImage
from training.report_page.gallery import draw_gallery

LABELS = LabelSpace("three", ("background", "cat", "dog"), voc_palette(3))


def test_image_target_and_mask_stand_side_by_side_as_small_pictures() -> None:
    target = np.zeros((500, 1000), np.uint8)
    scored = ScoredImage(Sample("a", Image.new("RGB", (1000, 500), "white"), target), target + np.uint8(1), 0.25)

    gallery = draw_gallery([scored], LABELS)

    sources = [picture.get("src", "") for picture in gallery.iter("img")]
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    assert [source.partition(",")[0] for source in sources] == ["data:image/jpeg;base64"] * 3
    assert [picture.size for picture in pictures] == [(320, 160)] * 3
    means = [np.asarray(picture).mean() for picture in pictures]
    assert means[0] == means[1] > means[2]


def test_the_legend_names_what_is_in_target_or_mask_but_no_background() -> None:
    target = np.array([[0, 1, 255]], np.uint8)
    scored = ScoredImage(Sample("a", Image.new("RGB", (3, 1)), target), np.array([[0, 0, 2]], np.uint8), 0.5)

    gallery = draw_gallery([scored], LABELS)

    text = "".join(gallery.itertext())
    assert text == "0.5000 aimagetargetmaskcatdog"
