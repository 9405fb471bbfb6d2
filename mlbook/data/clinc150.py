"""CLINC150: sentences to an assistant, 150 intents of ten domains, and some that are none. Larson et al. (2019)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from mlbook.data.files import find, sha256
from mlbook.episodes import Dataset

FILE = "data_full.json"
SOURCE = f"https://raw.githubusercontent.com/clinc/oos-eval/master/data/{FILE}"
SHA256 = "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"
LIMIT = 4_000_000  # bytes: the file has 2.5 MB

# The authors' domains.json.
DOMAINS = {
    "banking": (
        "freeze_account routing pin_change bill_due pay_bill account_blocked "
        "interest_rate min_payment bill_balance transfer order_checks balance "
        "spending_history transactions report_fraud"
    ),
    "credit_cards": (
        "replacement_card_duration expiration_date damaged_card improve_credit_score "
        "report_lost_card card_declined credit_limit_change apr redeem_rewards "
        "credit_limit rewards_balance application_status credit_score new_card "
        "international_fees"
    ),
    "kitchen_and_dining": (
        "food_last confirm_reservation how_busy ingredients_list calories nutrition_info "
        "recipe restaurant_reviews restaurant_reservation meal_suggestion "
        "restaurant_suggestion cancel_reservation ingredient_substitution cook_time "
        "accept_reservations"
    ),
    "home": (
        "what_song play_music todo_list_update reminder reminder_update calendar_update "
        "order_status update_playlist shopping_list calendar next_song order todo_list "
        "shopping_list_update smart_home"
    ),
    "auto_and_commute": (
        "current_location oil_change_when oil_change_how uber traffic tire_pressure "
        "schedule_maintenance gas mpg distance directions last_maintenance gas_type "
        "tire_change jump_start"
    ),
    "travel": (
        "plug_type travel_notification translate flight_status international_visa "
        "timezone exchange_rate travel_suggestion travel_alert vaccines lost_luggage "
        "book_flight book_hotel carry_on car_rental"
    ),
    "utility": (
        "weather alarm date find_phone share_location timer make_call calculator "
        "definition measurement_conversion flip_coin spelling time roll_dice text"
    ),
    "work": (
        "pto_request_status next_holiday insurance_change insurance meeting_schedule "
        "payday taxes income rollover_401k pto_balance pto_request w2 schedule_meeting "
        "direct_deposit pto_used"
    ),
    "small_talk": (
        "who_made_you meaning_of_life who_do_you_work_for do_you_have_pets "
        "what_are_your_hobbies fun_fact what_is_your_name where_are_you_from goodbye "
        "thank_you greeting tell_joke are_you_a_bot how_old_are_you what_can_i_ask_you"
    ),
    "meta": (
        "change_speed user_name whisper_mode yes change_volume no change_language repeat "
        "change_accent cancel sync_device change_user_name change_ai_name reset_settings "
        "maybe"
    ),
}


def load(part: str = "") -> Dataset:
    """The 150 intents with 150 sentences each, or, as a set of one class, the 1,200 sentences of no intent.

    Of a class, the first 100 sentences are the authors' training set, 20 more their validation and 30 their test
    set; of the sentences of no intent 100, 100 and 1,000.

    Args:
        part: `""` or `"unknown"`.

    Returns:
        A set of sentences, in `texts`; classes are intents and groups domains.

    Raises:
        FileNotFoundError: If the file is not here and cannot be downloaded; says how to get it.
        ValueError: If the file is another.

    Source: Larson et al. (2019), "An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction";
    CC BY 3.0.
    """
    with tempfile.TemporaryDirectory() as spare:
        path = find("clinc150", FILE, SOURCE, SHA256, LIMIT, Path(spare))
        if (found := sha256(path)) != SHA256:
            raise ValueError(f"{path} has the SHA-256 {found}, not {SHA256}; delete it, run again")
        parts: dict[str, list[tuple[str, str]]] = json.loads(path.read_text(encoding="utf-8"))
    if part == "unknown":
        texts = [text for p in ("train", "val", "test") for text, _ in parts[f"oos_{p}"]]
        return Dataset(None, ["unknown"], ["unknown"], "clinc150:unknown", texts=[texts])
    domain = {intent: d for d, intents in DOMAINS.items() for intent in intents.split()}
    of: dict[str, list[str]] = {intent: [] for intent in domain}
    for p in ("train", "val", "test"):
        for text, intent in parts[p]:
            of[intent].append(text)
    return Dataset(None, [*of], [*domain.values()], "clinc150", texts=[*of.values()])
