-- Every purchase: which customer bought of which kind of product on which day.
-- Grain:  one row per customer, kind of product and day.
-- Reads:  transactions.
-- Writes: user_id, brand_id, bought_at.
select distinct
    transactions."CUSTOMER_ID" as user_id,
    transactions."PRODUCT_SUBCLASS" as brand_id,
    to_date(transactions."TRANSACTION_DT", '%m/%d/%Y') as bought_at
from transactions
