-- Kinds of products (subclasses of the shop's own tree), which have no names.
-- Grain:  one row per brand_id.
-- Reads:  transactions.
-- Writes: brand_id, name.
select distinct
    transactions."PRODUCT_SUBCLASS" as brand_id,
    concat('subclass ', transactions."PRODUCT_SUBCLASS") as name
from transactions
