-- ML-ROS, random over-sampling for many labels (Charte et al., "Addressing imbalance in
-- multilabel classification", Neurocomputing 163, 2015). A brand is a minority if its imbalance
-- ratio, the largest volume over its own, is above the mean ratio. Clones make up
-- $clone_share of the users; minority brands take turns, each cloning one of its users at
-- random, until it is no minority any more. Here all turns are taken at once: a brand gets an
-- equal share of the clones, at most what lifts it to the mean ratio, rounded up. What it does not
-- need is not passed on, and what other brands' clones add to it is not counted.
-- Grain:  one row per example; a user's clones follow its original.
-- Reads:  users (user_row, user_id, as_of), interactions (user_row, brand_idx, brand_id), brands (brand_idx, volume).
-- Writes: user_id, as_of, brands, is_clone.
-- $clone_share = 0.25: clones for every user
-- $seed = 7: of the draws
with

largest as (
    select max(brands.volume) as volume
    from brands
),

brand_ratios as (
    select
        brands.brand_idx,
        brands.volume,
        largest.volume / cast(brands.volume as double) as imbalance_ratio,
        largest.volume as volume_max
    from largest
    cross join brands
    where brands.volume > 0
),

mean_ratio as (
    select avg(brand_ratios.imbalance_ratio) as imbalance_ratio
    from brand_ratios
),

minority_brands as (
    select
        brand_ratios.brand_idx,
        brand_ratios.volume,
        brand_ratios.volume_max / mean_ratio.imbalance_ratio - brand_ratios.volume as n_missing
    from mean_ratio
    cross join brand_ratios
    where brand_ratios.imbalance_ratio > mean_ratio.imbalance_ratio
),

equal_share as (
    select cast($clone_share as double) * (select count(*) from users) / nullif(count(*), 0) as n_clones
    from minority_brands
),

draws as (
    select
        minority_brands.brand_idx,
        minority_brands.volume,
        unnest(range(0, cast(ceil(least(equal_share.n_clones, minority_brands.n_missing)) as bigint))) as draw_no
    from equal_share
    cross join minority_brands
),

-- The brand's number is also that of the draw, so that no two brands draw alike.
drawn_places as (
    select
        draws.brand_idx,
        cast(floor(draw(draws.draw_no, $seed, cast(draws.brand_idx as bigint)) * draws.volume) as bigint) as place
    from draws
),

minority_users as (
    select
        interactions.brand_idx,
        interactions.user_row,
        cast(row_number() over (
            partition by interactions.brand_idx
            order by interactions.user_row
        ) as bigint) - 1 as place
    from interactions
    inner join minority_brands on minority_brands.brand_idx = interactions.brand_idx
),

user_clones as (
    select
        minority_users.user_row,
        count(*) as n_clones
    from drawn_places
    inner join minority_users
        on minority_users.brand_idx = drawn_places.brand_idx
        and minority_users.place = drawn_places.place
    group by minority_users.user_row
),

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands
    from interactions
    group by interactions.user_row
),

-- Joined before the lists of brands, so that those are only passed through.
copy_counts as (
    select
        users.user_row,
        users.user_id,
        users.as_of,
        coalesce(user_clones.n_clones, 0) + 1 as n_copies
    from users
    left join user_clones on user_clones.user_row = users.user_row
),

-- Copy 0 is the original.
copies as (
    select
        copy_counts.user_id,
        copy_counts.as_of,
        user_brands.brands,
        unnest(range(0, copy_counts.n_copies)) as copy_no
    from copy_counts
    left join user_brands on user_brands.user_row = copy_counts.user_row
)

select
    copies.user_id,
    copies.as_of,
    copies.brands,
    copies.copy_no > 0 as is_clone
from copies
