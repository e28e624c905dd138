-- Each order in a file that only one release has, in its state before and after.
-- An order moved if its day, status, sales type, return flag, total or lines differ. Python creates
-- a schema for each side (before, after, only_before, only_after) and the macro
-- changed_columns(b, a), which lists the names of the other columns that differ.
with removed_lines as (
    select order_id, product_id, sold_name, quantity, price from only_before."silver.order_lines"
    except all
    select order_id, product_id, sold_name, quantity, price from only_after."silver.order_lines"
),

added_lines as (
    select order_id, product_id, sold_name, quantity, price from only_after."silver.order_lines"
    except all
    select order_id, product_id, sold_name, quantity, price from only_before."silver.order_lines"
),

changed_lines as (
    select '-' as sign, * from removed_lines
    union all
    select '+' as sign, * from added_lines
),

lines as (
    select
        order_id,
        list(
            sign || ' ' || rtrim(rtrim(quantity::varchar, '0'), '.') || ' × '
            || coalesce(sold_name, 'product ' || product_id, '?') || ' at '
            -- A unit price may be finer than a kopeck; drop the zeros after the kopecks.
            || regexp_replace(price::varchar, '(\.\d\d)0+$', '\1')
            order by sign desc, product_id, sold_name, price, quantity
        ) as lines,
    from changed_lines
    group by all
),

ids as (
    select id from only_before."silver.orders"
    union
    select id from only_after."silver.orders"
    union
    select order_id from lines
)

select
    i.id as order_id,
    case when a.id is null then 'gone' when b.id is null then 'new' else 'edited' end as change,
    b.order_date as date_before,
    a.order_date as date_after,
    nullif(concat_ws(' ', b.status_id, b.status_name), '') as status_before,
    nullif(concat_ws(' ', a.status_id, a.status_name), '') as status_after,
    b.sales_type as sales_type_before,
    a.sales_type as sales_type_after,
    b.grand_total as total_before,
    a.grand_total as total_after,
    (case when b.is_return then 0 else coalesce(b.grand_total, 0) end)::decimal(18, 2) as revenue_before,
    (case when a.is_return then 0 else coalesce(a.grand_total, 0) end)::decimal(18, 2) as revenue_after,
    coalesce(l.lines, []) as lines,
    case when a.id is null or b.id is null then [] else changed_columns(b, a) end as also,
    (
        a.id is null
        or b.id is null
        or a.order_date <> b.order_date
        or a.status_id <> b.status_id
        or a.sales_type <> b.sales_type
        or a.is_return <> b.is_return
        or a.grand_total <> b.grand_total
        or l.lines is not null
    ) as is_moved,
from ids as i
left join before."silver.orders" as b on b.id = i.id
left join after."silver.orders" as a on a.id = i.id
left join lines as l on l.order_id = i.id
where a.id is not null or b.id is not null
