/*
grain     = "one row per buyer card, in its newest observed state"
key       = ["id"]
rebuild   = "by key"
partition = "created_date"
personal  = ["name", "birthday", "phones", "emails"]

[columns]
id           = "BIGINT"        # id of the card in KeyCRM
name         = "VARCHAR?"      # full name; null if the card has none
birthday     = "VARCHAR?"      # as typed in KeyCRM; null if the card has none
phones       = "VARCHAR[]"     # phone numbers of the card; empty if it has none
emails       = "VARCHAR[]"     # e-mail addresses of the card; empty if it has none
created_date = "DATE"          # shop day on which the card was created; 1970-01-01 if KeyCRM gives no time of 2000 to 2099
created_at   = "TIMESTAMPTZ?"  # when the card was created; null if KeyCRM gives no time
updated_at   = "TIMESTAMPTZ?"  # last change of the card; null if KeyCRM gives no time
*/
with newest as (
    select *
    from bronze.buyers
    qualify row_number() over (partition by id order by fetched_at desc) = 1
)

select
    id,
    full_name as name,
    birthday,
    phone as phones,
    email as emails,
    case
        when created_at between timestamptz '2000-01-01' and timestamptz '2099-12-31'
            then (created_at at time zone 'Europe/Kyiv')::date
        else date '1970-01-01'
    end as created_date,
    created_at,
    updated_at,
from newest
where not is_deleted
