/*
grain   = "one row per product of the catalogue, in its newest observed state"
key     = ["id"]
rebuild = "by key"

[columns]
id              = "BIGINT"          # id of the product in KeyCRM
category_id     = "BIGINT?"         # null if the product has no category
name            = "VARCHAR"         # name in KeyCRM
sku             = "VARCHAR?"        # article number; null if the product is sold in variants, see silver.offers
brand           = "VARCHAR?"        # custom field named by rules.brand_field; null if it is empty
category_name   = "VARCHAR?"        # null if the product has no category or KeyCRM does not list it
price           = "DECIMAL(18,2)?"  # money per unit, today's, or the lowest of its variants; null if KeyCRM gives neither
purchased_price = "DECIMAL(18,2)?"  # money per unit, today's cost; null if KeyCRM gives none
is_archived     = "BOOLEAN"         # true if the product is archived in KeyCRM
created_at      = "TIMESTAMPTZ?"    # when the product was created; null if KeyCRM gives no time
updated_at      = "TIMESTAMPTZ?"    # last change of the product; null if KeyCRM gives no time
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
        -- The value of a select field is a list, even of one entry; the value of a text field is the text.
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
