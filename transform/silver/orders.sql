/*
grain   = "one row per order of an included source that breaks no rule, in its newest observed state"
key     = ["id"]
rebuild = "by key"
month   = "order_date"
money   = "grand_total"
personal = ["buyer_name"]

# An order that breaks a rule is in silver.set_aside_orders instead, which lists the rules. Amounts of a source in
# another currency are converted with the rate of the order's day (rules.rates).
[columns]
id                = "BIGINT"          # id of the order in KeyCRM
source_id         = "BIGINT"          # sales channel; orders of rules.excluded_sources are in silver.excluded_orders
status_id         = "BIGINT"          # current status
status_group_id   = "BIGINT?"         # group of the status, see silver.statuses; null if KeyCRM gives none
buyer_id          = "BIGINT?"         # null if the order has no buyer card
manager_id        = "BIGINT?"         # null if no manager is assigned, as for most web orders
source_name       = "VARCHAR?"        # null if KeyCRM does not list the source
status_name       = "VARCHAR?"        # null if KeyCRM does not list the status; it lists active statuses only
manager_name      = "VARCHAR?"        # null if no manager is assigned or KeyCRM does not list the manager
buyer_name        = "VARCHAR?"        # null if the order has no buyer card, or the card has no name or was deleted
sales_type        = "VARCHAR"         # retail, b2b or other: by the manager's rule, or the source's if there is no manager
is_return         = "BOOLEAN"         # true if rules.return_statuses or rules.return_status_groups lists the status
order_date        = "DATE"            # shop day of ordered_at (Europe/Kyiv)
currency          = "VARCHAR"         # currency of the amounts in KeyCRM: that of the source, or the shop's if it has none
rate              = "DECIMAL(18,6)"   # price of one unit of currency in the shop's currency on order_date; 1 for the shop's
grand_total       = "DECIMAL(18,2)"   # money, total of the order after discounts
products_total    = "DECIMAL(18,2)?"  # money, total of the goods as KeyCRM sums them; null if it gives none, or one above rules.limits
total_discount    = "DECIMAL(18,2)?"  # money, discount on the whole order, without line discounts; null if KeyCRM gives none, or one above rules.limits
shipping_price    = "DECIMAL(18,2)?"  # money, delivery; null if KeyCRM gives none, or one above rules.limits
expenses_sum      = "DECIMAL(18,2)?"  # money, expenses of the order as KeyCRM sums them, not converted; null if it gives none
payment_status    = "VARCHAR?"        # payment status in KeyCRM; null if it gives none
promocode         = "VARCHAR?"        # as typed; null if the order has none
ordered_at        = "TIMESTAMPTZ"     # when the sale happened
created_at        = "TIMESTAMPTZ"     # when KeyCRM received the order
updated_at        = "TIMESTAMPTZ"     # last change in KeyCRM; some changes do not move it
status_changed_at = "TIMESTAMPTZ?"    # last change of the status; null if KeyCRM gives no time
closed_at         = "TIMESTAMPTZ?"    # when the order was closed; null if it is open
observed_at       = "TIMESTAMPTZ"     # fetch time of the newest observation; joins the order's lines and expenses in bronze

[checks]
total_is_not_negative = "grand_total >= 0"
sales_type_is_known   = "sales_type in ('retail', 'b2b', 'other')"
date_is_within_reason = "order_date between date '2000-01-01' and date '2099-12-31'"
*/
with newest as (
    select *
    from bronze.orders
    -- An order has many observations. The last fetched one wins, even if it was not written last.
    qualify row_number() over (partition by id order by fetched_at desc) = 1
),

counted as (
    select
        n.*,
        (n.ordered_at at time zone 'Europe/Kyiv')::date as order_date,
        c.currency as shop_currency,
        m.largest_amount::double as limit_of_amounts,
    from newest as n
    cross join rules.currency as c
    cross join rules.limits as m
    where
        not n.is_deleted
        and coalesce(n.source_id not in (select source_id from rules.excluded_sources), true)
        and n.id not in (select order_id from silver.set_aside_orders)
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
    -- A manager without a rule sells "other". The source decides only if the order has no manager.
    coalesce(
        case when o.manager_id is null then by_source.sales_type else by_manager.sales_type end,
        'other'
    ) as sales_type,
    (
        o.status_id in (select status_id from rules.return_statuses)
        or coalesce(o.status_group_id in (select status_group_id from rules.return_status_groups), false)
    ) as is_return,
    o.order_date,
    coalesce(s.currency_code, o.shop_currency) as currency,
    r.rate,
    (o.grand_total::decimal(38, 2) * r.rate)::decimal(18, 2) as grand_total,
    -- An amount that no total needs costs only itself if it is beyond the limits.
    case
        when abs(o.products_total::double) * r.rate::double <= o.limit_of_amounts
            then try_cast(o.products_total::decimal(38, 4) * r.rate as decimal(18, 2))
    end as products_total,
    case
        when abs(o.total_discount::double) * r.rate::double <= o.limit_of_amounts
            then try_cast(o.total_discount::decimal(38, 4) * r.rate as decimal(18, 2))
    end as total_discount,
    case
        when abs(o.shipping_price::double) * r.rate::double <= o.limit_of_amounts
            then try_cast(o.shipping_price::decimal(38, 4) * r.rate as decimal(18, 2))
    end as shipping_price,
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
asof left join rules.rates as r
    on r.currency = coalesce(s.currency_code, o.shop_currency) and o.order_date >= r.valid_from
left join silver.statuses as t on t.id = o.status_id
left join silver.managers as m on m.id = o.manager_id
left join silver.buyers as b on b.id = o.buyer_id
