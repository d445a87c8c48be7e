"""x"""


def render(results: object) -> str:
    return ""
