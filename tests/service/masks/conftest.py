"""Leave out the tests that compare with libraries that are not installed."""

from importlib.util import find_spec

_READERS = {
    "cvat_sdk": "test_cvat.py",
    "huggingface_hub": "test_pictures.py",
    "label_studio_sdk": "test_labelstudio.py",
    "shapely": "test_polygons.py",
}

collect_ignore = [file for library, file in _READERS.items() if find_spec(library) is None]
