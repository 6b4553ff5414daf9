-- Customers, each from the first purchase on, with what the loyalty card says of them.
-- Grain:  one row per user_id (customer).
-- Reads:  transactions.
-- Writes: user_id, first_bought_at, age_group and pin_code (both the same in all of a customer's rows).
select
    transactions."CUSTOMER_ID" as user_id,
    min(to_date(transactions."TRANSACTION_DT", '%m/%d/%Y')) as first_bought_at,
    max(transactions."AGE_GROUP") as age_group,
    max(transactions."PIN_CODE") as pin_code
from transactions
group by transactions."CUSTOMER_ID"
