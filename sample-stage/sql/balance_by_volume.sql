-- Approach 2: under- and over-sampling toward a target volume, the same for every brand.
-- The target is $target_volume users, else the $target_quantile of the brands' volumes. A
-- brand asks for target / volume copies of each of its users; a user gets as many as the brand
-- that asks for most, its rarest, at most $max_copies. A part of a copy is a chance of one.
-- Users without a brand are taken as often as those of the largest brand.
-- Grain:  one row per example; a user's clones follow its first copy.
-- Reads:  users (user_row, user_id, as_of), interactions (user_row, brand_id), brands (brand_id, volume).
-- Writes: user_id, as_of, brands, is_clone.
-- $target_volume = null: a number of users
-- $target_quantile = 0.5: a share of the brands
-- $max_copies = 10: of one user
-- $seed = 7: of the draws
with

target as (
    select
        coalesce($target_volume, percentile_cont($target_quantile) within group (order by brands.volume)) as volume,
        max(brands.volume) as volume_max
    from brands
),

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands,
        min(brands.volume) as volume_min
    from interactions
    inner join brands on brands.brand_id = interactions.brand_id
    group by interactions.user_row
),

copy_counts as (
    select
        users.user_id,
        users.as_of,
        user_brands.brands,
        least($max_copies, floor(
            target.volume / coalesce(user_brands.volume_min, target.volume_max)
            + draw(users.user_id, $seed, 0)
        )) as n_copies
    from target
    cross join users
    left join user_brands on user_brands.user_row = users.user_row
),

copies as (
    select
        copy_counts.user_id,
        copy_counts.as_of,
        copy_counts.brands,
        unnest(range(0, cast(copy_counts.n_copies as bigint))) as copy_no
    from copy_counts
    where copy_counts.n_copies > 0
)

select
    copies.user_id,
    copies.as_of,
    copies.brands,
    copies.copy_no > 0 as is_clone
from copies
