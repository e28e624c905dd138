-- Counts and money of both sides.
select
    (select count(*) from reconciliation.expected) as orders_in_crm,
    (select coalesce(sum(total), 0)::decimal(38, 2) from reconciliation.expected) as money_in_crm,
    (select count(distinct day) from reconciliation.expected) as days,
    (select count(*) from reconciliation.built) as orders_built,
    (select coalesce(sum(total), 0)::decimal(38, 2) from reconciliation.built) as money_built,
    (select count(*) from reconciliation.observations where counts_by = 'newer') as newer,
    (select count(*) from reconciliation.observations where counts_by = 'rejected') as rejected
