-- Every purchase of the year: which household bought from which manufacturer, and when.
-- Grain:  one row per basket and manufacturer.
-- Reads:  transactions, products.
-- Writes: user_id, brand_id, bought_at.
select
    transactions.household_id as user_id,
    products.manufacturer_id as brand_id,
    min(transactions.transaction_timestamp) as bought_at
from transactions
inner join products on products.product_id = transactions.product_id
group by transactions.household_id, transactions.basket_id, products.manufacturer_id
