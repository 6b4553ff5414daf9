-- Manufacturers that at least 20 households bought from in weeks 27 to 53.
-- Grain:  one row per brand_id (manufacturer).
-- Reads:  transactions, products.
-- Writes: brand_id, name = what it mostly sells, since manufacturers have no names.
with

purchases as (
    select
        transactions.household_id,
        transactions.week,
        products.manufacturer_id,
        products.product_category,
        products.department
    from transactions
    inner join products on products.product_id = transactions.product_id
),

-- Who bought in both halves: there is a history, and something to predict.
households as (
    select purchases.household_id
    from purchases
    group by purchases.household_id
    having min(purchases.week) <= 26 and max(purchases.week) > 26
),

large_enough as (
    select purchases.manufacturer_id
    from purchases
    inner join households on households.household_id = purchases.household_id
    where purchases.week > 26
    group by purchases.manufacturer_id
    having count(distinct purchases.household_id) >= 20
),

categories as (
    select
        purchases.manufacturer_id,
        coalesce(purchases.product_category, purchases.department, 'unknown') as category,
        count(*) as n_purchases
    from purchases
    group by
        purchases.manufacturer_id,
        coalesce(purchases.product_category, purchases.department, 'unknown')
),

ranked_categories as (
    select
        categories.manufacturer_id,
        categories.category,
        row_number() over (
            partition by categories.manufacturer_id
            order by categories.n_purchases desc, categories.category
        ) as category_rank
    from categories
),

named as (
    select
        large_enough.manufacturer_id as brand_id,
        concat(
            lower(ranked_categories.category),
            ' (manufacturer ', cast(large_enough.manufacturer_id as varchar), ')'
        ) as name
    from large_enough
    inner join ranked_categories
        on ranked_categories.manufacturer_id = large_enough.manufacturer_id
        and ranked_categories.category_rank = 1
)

select * from named
order by brand_id
