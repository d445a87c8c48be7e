from training.report_page.markup import render, tag


def test_texts_and_attributes_are_escaped() -> None:
    page = render(tag("p", "a < b & c", tag("i", "<i>"), "> d", title='"&<'))

    assert page.splitlines()[1] == b'<p title="&quot;&amp;<">a &lt; b &amp; c<i>&lt;i&gt;</i>&gt; d</p>'


def test_names_of_attributes_may_be_words_of_python_and_numbers_are_short() -> None:
    line = render(tag("line", class_="axis", stroke_width=2.0, x1=1.239)).splitlines()[1]

    assert line == b'<line class="axis" stroke-width="2" x1="1.24"></line>'


def test_what_utf_8_cannot_hold_becomes_a_question_mark() -> None:
    assert render(tag("p", "a\udcff")).endswith(b"<p>a?</p>")
