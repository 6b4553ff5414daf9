-- All manufacturers, named after what they mostly sell, since they have no names.
-- Grain:  one row per brand_id (manufacturer).
-- Reads:  products.
-- Writes: brand_id, name.
with

categories as (
    select
        products.manufacturer_id,
        coalesce(products.product_category, products.department, 'unknown') as category,
        count(*) as n_products
    from products
    group by
        products.manufacturer_id,
        coalesce(products.product_category, products.department, 'unknown')
),

ranked_categories as (
    select
        categories.manufacturer_id,
        categories.category,
        row_number() over (
            partition by categories.manufacturer_id
            order by categories.n_products desc, categories.category
        ) as category_rank
    from categories
)

select
    ranked_categories.manufacturer_id as brand_id,
    concat(
        lower(ranked_categories.category),
        ' (manufacturer ', cast(ranked_categories.manufacturer_id as varchar), ')'
    ) as name
from ranked_categories
where ranked_categories.category_rank = 1
