"""Schemas: the columns of the bronze tables, which readers and stored files depend on."""

import re

import pytest

from ingest.schemas import OBSERVED, SCHEMAS
from lake.delta.contract import Contract

# The columns of each table before those of every observation.
TABLES = {
    "bronze.orders": """
        id BIGINT, parent_id BIGINT?, source_id BIGINT?, source_uuid VARCHAR?, status_id BIGINT?,
        status_group_id BIGINT?, buyer_id BIGINT?, manager_id BIGINT?, grand_total DECIMAL(18,2)?,
        products_total DECIMAL(18,4)?, total_discount DECIMAL(18,4)?, discount_percent DECIMAL(9,4)?,
        discount_amount DECIMAL(18,4)?, shipping_price DECIMAL(18,4)?, wrap_price DECIMAL(18,4)?,
        taxes DECIMAL(18,4)?, margin_sum DECIMAL(18,4)?, expenses_sum DECIMAL(18,4)?,
        payments_total DECIMAL(18,4)?, payment_status VARCHAR?, promocode VARCHAR?, is_gift BOOLEAN?,
        ordered_at TIMESTAMPTZ?, created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?,
        status_changed_at TIMESTAMPTZ?, closed_at TIMESTAMPTZ?, payload VARCHAR?
    """,
    "bronze.buyers": """
        id BIGINT, full_name VARCHAR?, birthday VARCHAR?, phone VARCHAR[]?, email VARCHAR[]?, note VARCHAR?,
        manager_id BIGINT?, created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?, payload VARCHAR?
    """,
    "bronze.products": """
        id BIGINT, name VARCHAR?, sku VARCHAR?, category_id BIGINT?, price DECIMAL(18,4)?,
        purchased_price DECIMAL(18,4)?, min_price DECIMAL(18,4)?, max_price DECIMAL(18,4)?,
        has_offers BOOLEAN?, is_archived BOOLEAN?, custom_fields VARCHAR?, created_at TIMESTAMPTZ?,
        updated_at TIMESTAMPTZ?, payload VARCHAR?
    """,
    "bronze.offers": """
        id BIGINT, product_id BIGINT?, sku VARCHAR?, barcode VARCHAR?, price DECIMAL(18,4)?,
        purchased_price DECIMAL(18,4)?, quantity DECIMAL(18,3)?, in_reserve DECIMAL(18,3)?,
        is_archived BOOLEAN?, payload VARCHAR?
    """,
    "bronze.categories": """
        id BIGINT, name VARCHAR?, parent_id BIGINT?, payload VARCHAR?
    """,
    "bronze.managers": """
        id BIGINT, full_name VARCHAR?, first_name VARCHAR?, last_name VARCHAR?, username VARCHAR?,
        email VARCHAR?, role_id BIGINT?, status VARCHAR?, created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?,
        payload VARCHAR?
    """,
    "bronze.sources": """
        id BIGINT, name VARCHAR?, alias VARCHAR?, driver VARCHAR?, currency_code VARCHAR?,
        created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?, payload VARCHAR?
    """,
    "bronze.statuses": """
        id BIGINT, name VARCHAR?, alias VARCHAR?, group_id BIGINT?, is_active BOOLEAN?,
        is_closing_order BOOLEAN?, created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?, payload VARCHAR?
    """,
    "bronze.expense_types": """
        id BIGINT, name VARCHAR?, alias VARCHAR?, is_active BOOLEAN?, by_order BOOLEAN?, payload VARCHAR?
    """,
    "bronze.order_products": """
        order_id BIGINT, position BIGINT, id BIGINT?, offer_id BIGINT?, product_id BIGINT?, name VARCHAR?,
        sku VARCHAR?, price DECIMAL(18,4), price_sold DECIMAL(18,4)?, purchased_price DECIMAL(18,4)?,
        discount_percent DECIMAL(9,4)?, discount_amount DECIMAL(18,4)?, total_discount DECIMAL(18,4)?,
        quantity DECIMAL(18,3), unit_type VARCHAR?, upsale BOOLEAN?, comment VARCHAR?
    """,
    "bronze.expenses": """
        order_id BIGINT, position BIGINT, id BIGINT, expense_type_id BIGINT, amount DECIMAL(18,4),
        actual_currency VARCHAR?, description VARCHAR?, status VARCHAR?, payment_date TIMESTAMPTZ?,
        created_at TIMESTAMPTZ?, updated_at TIMESTAMPTZ?
    """,
    "bronze.rejected": """
        entity VARCHAR, id BIGINT?, reason VARCHAR, payload VARCHAR, payload_hash VARCHAR,
        fetched_at TIMESTAMPTZ, run_id VARCHAR, observed_on DATE
    """,
    "bronze.odd_fields": """
        entity VARCHAR, id BIGINT, field VARCHAR, is_read BOOLEAN, fetched_at TIMESTAMPTZ, run_id VARCHAR,
        observed_on DATE
    """,
}


@pytest.mark.parametrize("table", SCHEMAS)
def test_a_bronze_table_has_its_columns(table: str) -> None:
    """If a Struct of an entity changes, the stored tables must not change without notice."""
    columns = dict(column.split() for column in re.split(r",\s+", TABLES[table].strip()))
    observed = {} if table in ("bronze.rejected", "bronze.odd_fields") else OBSERVED
    assert SCHEMAS[table].equals(Contract.of({**columns, **observed}).schema)
