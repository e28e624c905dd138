/*
grain   = "one row per order of the sources that count, in the newest state KeyCRM has shown"
key     = ["id"]
rebuild = "by key"
month   = "order_date"
money   = "grand_total"

[columns]
id                = "BIGINT"
source_id         = "BIGINT"
status_id         = "BIGINT"
status_group_id   = "BIGINT?"
buyer_id          = "BIGINT?"          # null: sold without a buyer card
manager_id        = "BIGINT?"          # null: nobody took it, as most web orders
source_name       = "VARCHAR?"
status_name       = "VARCHAR?"         # null: the CRM lists active statuses only
manager_name      = "VARCHAR?"
buyer_name        = "VARCHAR?"
sales_type        = "VARCHAR"
is_return         = "BOOLEAN"
order_date        = "DATE"             # the shop's day, Europe/Kyiv
grand_total       = "DECIMAL(18,2)"
products_total    = "DECIMAL(18,2)?"
total_discount    = "DECIMAL(18,2)?"   # of the order; its lines' own discounts are in price_sold
shipping_price    = "DECIMAL(18,2)?"
expenses_sum      = "DECIMAL(18,2)?"
payment_status    = "VARCHAR?"
promocode         = "VARCHAR?"
ordered_at        = "TIMESTAMPTZ"      # when the sale happened
created_at        = "TIMESTAMPTZ"      # when the CRM got it
updated_at        = "TIMESTAMPTZ"
status_changed_at = "TIMESTAMPTZ?"
closed_at         = "TIMESTAMPTZ?"
observed_at       = "TIMESTAMPTZ"      # names the order's lines and expenses in bronze

[checks]
total_is_not_negative = "grand_total >= 0"
sales_type_is_known   = "sales_type in ('retail', 'b2b', 'other')"
date_is_within_reason = "order_date between date '2000-01-01' and date '2099-12-31'"
*/
with newest as (
    select *
    from bronze.orders
    -- One order is observed many times; the last look wins, whenever it was written.
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

counted as (
    select
        *,
        (ordered_at at time zone 'Europe/Kyiv')::date as order_date,
    from newest
    where
        not is_deleted
        and coalesce(source_id not in (select source_id from rules.excluded_sources), true)
)

select
    o.id,
    o.source_id,
    o.status_id,
    o.status_group_id,
    o.buyer_id,
    o.manager_id,
    s.name as source_name,
    t.name as status_name,
    m.name as manager_name,
    b.name as buyer_name,
    -- A manager no rule names sells "other"; the source speaks only where there is no manager.
    coalesce(
        case when o.manager_id is null then by_source.sales_type else by_manager.sales_type end,
        'other'
    ) as sales_type,
    (
        o.status_id in (select status_id from rules.return_statuses)
        or coalesce(o.status_group_id in (select status_group_id from rules.return_status_groups), false)
    ) as is_return,
    o.order_date,
    o.grand_total,
    o.products_total::decimal(18, 2) as products_total,
    o.total_discount::decimal(18, 2) as total_discount,
    o.shipping_price::decimal(18, 2) as shipping_price,
    o.expenses_sum::decimal(18, 2) as expenses_sum,
    o.payment_status,
    nullif(o.promocode, '') as promocode,
    o.ordered_at,
    o.created_at,
    o.updated_at,
    o.status_changed_at,
    o.closed_at,
    o.fetched_at as observed_at,
from counted as o
asof left join rules.manager_sales_types as by_manager
    on o.manager_id = by_manager.manager_id and o.order_date >= by_manager.valid_from
asof left join rules.source_sales_types as by_source
    on o.source_id = by_source.source_id and o.order_date >= by_source.valid_from
left join silver.sources as s on s.id = o.source_id
left join silver.statuses as t on t.id = o.status_id
left join silver.managers as m on m.id = o.manager_id
left join silver.buyers as b on b.id = o.buyer_id
