/*
grain   = "one row per product of the catalogue, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"

[columns]
id              = "BIGINT"
category_id     = "BIGINT?"
name            = "VARCHAR"
sku             = "VARCHAR?"           # null: sold in variants, see silver.offers
brand           = "VARCHAR?"           # the custom field that rules.brand_field names
category_name   = "VARCHAR?"
price           = "DECIMAL(18,2)?"     # today's
purchased_price = "DECIMAL(18,2)?"     # today's; a line keeps the cost of its day
is_archived     = "BOOLEAN"
created_at      = "TIMESTAMPTZ?"
updated_at      = "TIMESTAMPTZ?"
*/
with newest as (
    select *
    from bronze.products
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

fields as (
    select
        id,
        unnest(from_json(custom_fields, '["JSON"]')) as field,
    from newest
),

brands as (
    select
        f.id,
        -- A select's value is a list even when single; a text's is the text itself.
        min(
            case
                when json_type(f.field, '$.value') = 'ARRAY' then f.field ->> '$.value[0]'
                else f.field ->> '$.value'
            end
        ) as brand,
    from fields as f
    join rules.brand_field as r on f.field ->> '$.uuid' = r.uuid
    group by f.id
)

select
    p.id,
    p.category_id,
    p.name,
    p.sku,
    nullif(trim(b.brand), '') as brand,
    c.name as category_name,
    coalesce(p.price, p.min_price)::decimal(18, 2) as price,
    p.purchased_price::decimal(18, 2) as purchased_price,
    coalesce(p.is_archived, false) as is_archived,
    p.created_at,
    p.updated_at,
from newest as p
left join brands as b on b.id = p.id
left join silver.categories as c on c.id = p.category_id
where not p.is_deleted
