"""The tables of the contexts beside orders, each as both sides must say it, for the comparison by independent SQL."""

from __future__ import annotations

from demo.agreement import Comparison, Side

CATALOG = (
    Comparison(
        name="category",
        shop=Side(source="catalog_category c", key="c.id", columns={"title": "c.name::text"}),
        service=Side(source="shelf_category c", key="c.id", columns={"title": "c.title::text"}),
    ),
    Comparison(
        name="product",
        shop=Side(
            source="catalog_product p",
            key="p.id",
            columns={
                "code": "p.sku::text",
                "title": "p.name::text",
                "price_cents": "trim_scale(p.price * 100)",
                "currency": "p.currency::text",
                "category": "p.category_id::bigint",
                "features": "p.attributes",
                "on_sale": "p.active",
                "version": "p.version",
            },
        ),
        service=Side(
            source="shelf_product p",
            key="p.id",
            columns={
                "code": "p.code::text",
                "title": "p.title::text",
                "price_cents": "trim_scale(p.price_cents::numeric)",
                "currency": "p.currency::text",
                "category": "p.category_id::bigint",
                "features": "p.features",
                "on_sale": "p.on_sale",
                "version": "p.version",
            },
        ),
    ),
)

INVENTORY = (
    Comparison(
        name="stock",
        shop=Side(
            source="inventory_stock s",
            key="s.id",
            columns={"product": "s.product_id::bigint", "on_hand": "s.on_hand"},
        ),
        service=Side(
            source="depot_stock s",
            key="s.id",
            columns={"product": "s.product_id::bigint", "on_hand": "s.on_hand"},
        ),
    ),
    Comparison(
        name="movement",
        shop=Side(
            source="inventory_movement m",
            key="m.id",
            columns={
                "product": "m.product_id::bigint",
                "order": "m.order_id::bigint",
                "quantity": "m.delta",
                "reason": "m.reason::text",
                "moved_at": "m.created_at",
            },
        ),
        service=Side(
            source="depot_movement m",
            key="m.id",
            columns={
                "product": "m.product_id::bigint",
                "order": "m.order_number::bigint",
                "quantity": "m.quantity",
                "reason": "m.reason::text",
                "moved_at": "m.moved_at",
            },
        ),
    ),
)

PAYMENTS = (
    Comparison(
        name="payment",
        shop=Side(
            source="payments_payment p",
            key="p.id",
            columns={
                "order": "p.order_id::bigint",
                "public": "p.order_public_id",
                "payer": "p.payer_id",
                "amount_cents": "trim_scale(p.amount * 100)",
                "status": "p.status::text",
                "authorised_at": "p.created_at",
                "changed_at": "p.updated_at",
            },
        ),
        service=Side(
            source="billing_payment p",
            key="p.id",
            columns={
                "order": "p.order_number::bigint",
                "public": "p.order_public_id",
                "payer": "p.payer_id",
                "amount_cents": "trim_scale(p.amount_cents::numeric)",
                "status": "p.status::text",
                "authorised_at": "p.authorised_at",
                "changed_at": "p.changed_at",
            },
        ),
    ),
)

USERS = (
    Comparison(
        name="user",
        shop=Side(
            source="accounts_user u",
            key="u.id",
            columns={
                "email": "u.email::text",
                "password": "u.password::text",
                "first": "u.first_name::text",
                "last": "u.last_name::text",
                "staff": "ROW(u.is_staff, u.is_superuser, u.is_active)",
                "seen": "u.last_login",
                "joined": "u.date_joined",
                "version": "u.version",
            },
        ),
        service=Side(
            source="people_person u",
            key="u.id",
            columns={
                "email": "u.email::text",
                "password": "u.password_hash::text",
                "first": "u.given_name::text",
                "last": "u.family_name::text",
                "staff": "ROW(u.works_here, u.may_everything, u.active)",
                "seen": "u.last_seen_at",
                "joined": "u.joined_at",
                "version": "u.version",
            },
        ),
    ),
)

TABLES: dict[str, tuple[Comparison, ...]] = {
    "catalog": CATALOG,
    "inventory": INVENTORY,
    "payments": PAYMENTS,
    "users": USERS,
}
