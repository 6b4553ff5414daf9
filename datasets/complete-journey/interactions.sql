-- The labels: manufacturers that a household bought from in weeks 27 to 53.
-- Grain:  one row per user_id and brand_id.
-- Reads:  transactions, products.
-- Writes: user_id, brand_id, events = baskets with a product of the manufacturer.
with

purchases as (
    select
        transactions.household_id,
        transactions.basket_id,
        transactions.week,
        products.manufacturer_id
    from transactions
    inner join products on products.product_id = transactions.product_id
),

-- As in users.sql and brands.sql: who bought in both halves.
households as (
    select purchases.household_id
    from purchases
    group by purchases.household_id
    having min(purchases.week) <= 26 and max(purchases.week) > 26
),

labels as (
    select
        purchases.household_id,
        purchases.manufacturer_id,
        count(distinct purchases.basket_id) as events
    from purchases
    inner join households on households.household_id = purchases.household_id
    where purchases.week > 26
    group by purchases.household_id, purchases.manufacturer_id
),

-- As in brands.sql.
large_enough as (
    select labels.manufacturer_id
    from labels
    group by labels.manufacturer_id
    having count(*) >= 20
)

select
    labels.household_id as user_id,
    labels.manufacturer_id as brand_id,
    labels.events
from labels
inner join large_enough on large_enough.manufacturer_id = labels.manufacturer_id
order by user_id, brand_id
