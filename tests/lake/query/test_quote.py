"""Quote: names that need no quotes in SQL."""

import duckdb

from lake.query.quote import is_word


def test_a_word_is_a_name_that_duckdb_takes_without_quotes() -> None:
    """``is_word`` agrees with DuckDB on each of its keywords, and refuses other characters than a name's."""
    with duckdb.connect() as connection:
        keywords = connection.execute("select keyword_name from duckdb_keywords()").fetchall()
        for word in ["id", "day_2", "ціна", "Order", *(keyword for (keyword,) in keywords)]:
            query = f'select {word} from (select 7 as "{word}") where ({word} > 7) is not true'
            try:
                shown = connection.execute(query).fetchall()
            except duckdb.Error:
                shown = []
            assert is_word(word) == (shown == [(7,)]), word
    assert not any(map(is_word, ["", "a b", "1a", "a-b", "a.b", 'a"b']))
