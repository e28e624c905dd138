/*
grain   = "one row per variant that can be sold, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id              = "BIGINT"
product_id      = "BIGINT?"
sku             = "VARCHAR?"
price           = "DECIMAL(18,2)?"
purchased_price = "DECIMAL(18,2)?"
quantity        = "DECIMAL(18,3)?"     # in stock
reserve         = "DECIMAL(18,3)?"     # of these promised to orders; may exceed the stock
is_archived     = "BOOLEAN"
observed_at     = "TIMESTAMPTZ"
*/
with newest as (
    select *
    from bronze.offers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    product_id,
    sku,
    price::decimal(18, 2) as price,
    purchased_price::decimal(18, 2) as purchased_price,
    quantity,
    in_reserve as reserve,
    coalesce(is_archived, false) as is_archived,
    fetched_at as observed_at,
from newest
where not is_deleted
