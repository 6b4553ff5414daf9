-- Approaches 1a and 1b: as clone_small_brands, but clones lose their high-volume brands; the
-- originals keep them. To the loss a clone's lost brands are negatives, which they are not:
-- see clone_masking_high_volume.
-- Small brands are those with at most $small_volume_max users, else all but the
-- $small_outside_top largest, else those below the $small_quantile of brands by volume.
-- High-volume brands are those with at least $high_volume_min users, else the
-- $high_volume_top largest, else those above the $high_volume_quantile of brands by volume.
-- A brand should not be both small and of high volume: a clone drawn for it would lose it.
-- Grain:  one row per example; a user's clones follow its original.
-- Reads:  users (user_row, user_id, as_of), interactions (user_row, brand_idx, brand_id), brands (volume).
-- Writes: user_id, as_of, brands, is_clone.
-- $n_users = 1000000: users in the uniform sample; all if there are fewer
-- $n_clones = null: clones, drawn with replacement; by default 4 for each user in the sample
-- $seed = 7: of the draws
-- $small_volume_max = null: a number of training users
-- $small_outside_top = null: a number of brands
-- $small_quantile = 0.5: a share of the brands
-- $high_volume_min = null: a number of training users
-- $high_volume_top = null: a number of brands
-- $high_volume_quantile = 0.99: a share of the brands
with

-- brand_idx counts from the largest brand on, so a limit is a place in that order.
places as (
    select
        case
            when $small_volume_max is not null
                then count(*) filter (where brands.volume > $small_volume_max)
            when $small_outside_top is not null then $small_outside_top
            else count(*) - round($small_quantile * count(*))
        end as n_other_brands,
        case
            when $high_volume_min is not null
                then count(*) filter (where brands.volume >= $high_volume_min)
            when $high_volume_top is not null then $high_volume_top
            else count(*) - round($high_volume_quantile * count(*))
        end as n_high_volume_brands
    from brands
),

ranked_users as (
    select
        users.user_row,
        users.user_id,
        users.as_of,
        row_number() over (order by draw(users.user_id, $seed, 0), users.user_row) as draw_rank
    from users
),

drawn_users as (
    select
        ranked_users.user_row,
        ranked_users.user_id,
        ranked_users.as_of
    from ranked_users
    where ranked_users.draw_rank <= $n_users
),

small_brand_users as (
    select distinct interactions.user_row
    from places
    cross join interactions
    inner join drawn_users on drawn_users.user_row = interactions.user_row
    where interactions.brand_idx >= places.n_other_brands
),

candidates as (
    select
        small_brand_users.user_row,
        cast(row_number() over (order by small_brand_users.user_row) as bigint) - 1 as place
    from small_brand_users
),

candidate_count as (
    select count(*) as n_candidates
    from candidates
),

clone_count as (
    select coalesce($n_clones, 4 * least($n_users, count(*))) as n_clones
    from users
),

-- No draw without a candidate. (A range between constants would become a list in the plan.)
draws as (
    select
        unnest(range(
            0, case when candidate_count.n_candidates > 0 then clone_count.n_clones else 0 end
        )) as draw_no,
        candidate_count.n_candidates
    from candidate_count
    cross join clone_count
),

drawn_places as (
    select cast(floor(draw(draws.draw_no, $seed, 1) * draws.n_candidates) as bigint) as place
    from draws
),

clone_counts as (
    select
        drawn_places.place,
        count(*) as n_clones
    from drawn_places
    group by drawn_places.place
),

user_clones as (
    select
        candidates.user_row,
        clone_counts.n_clones
    from candidates
    inner join clone_counts on clone_counts.place = candidates.place
),

user_brands as (
    select
        interactions.user_row,
        array_agg(interactions.brand_id) as brands,
        array_agg(interactions.brand_id) filter (
            where interactions.brand_idx >= places.n_high_volume_brands
        ) as brands_of_clone
    from places
    cross join interactions
    group by interactions.user_row
),

-- Joined before the lists of brands, so that those are only passed through.
copy_counts as (
    select
        drawn_users.user_row,
        drawn_users.user_id,
        drawn_users.as_of,
        coalesce(user_clones.n_clones, 0) + 1 as n_copies
    from drawn_users
    left join user_clones on user_clones.user_row = drawn_users.user_row
),

-- Copy 0 is the original.
copies as (
    select
        copy_counts.user_id,
        copy_counts.as_of,
        user_brands.brands,
        user_brands.brands_of_clone,
        unnest(range(0, copy_counts.n_copies)) as copy_no
    from copy_counts
    left join user_brands on user_brands.user_row = copy_counts.user_row
)

select
    copies.user_id,
    copies.as_of,
    case when copies.copy_no > 0 then copies.brands_of_clone else copies.brands end as brands,
    copies.copy_no > 0 as is_clone
from copies
