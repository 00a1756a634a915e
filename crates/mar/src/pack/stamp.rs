//! `createdOn`: one date in one form, for which a calendar library would be the heaviest dependency.

use crate::Error;

const DAY: i64 = 86_400;
/// 9999-12-31 23:59:59 UTC; a year of five digits would not fit the form.
const LAST: i64 = 253_402_300_799;

/// Seconds since 1970-01-01 UTC as `dd/mm/YYYY HH:MM:SS`.
pub(super) fn created_on(seconds: i64) -> Result<String, Error> {
    if !(0..=LAST).contains(&seconds) {
        return Err(Error::Input(format!(
            "the time {seconds} is not between the years 1970 and 9999; correct SOURCE_DATE_EPOCH"
        )));
    }
    let (year, month, day) = date(seconds / DAY);
    let time = seconds % DAY;
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Ok(format!("{day:02}/{month:02}/{year:04} {hour:02}:{minute:02}:{second:02}"))
}

/// Year, month and day in the Gregorian calendar. H. Hinnant's `civil_from_days`: the year is counted
/// from March, so that the leap day is its last.
fn date(days_since_1970: i64) -> (i64, i64, i64) {
    let days = days_since_1970 + 719_468; // since 0000-03-01
    let era = days / 146_097; // of 400 years
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153; // 0 is March
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // The right sides are `date -u -d @SECONDS '+%d/%m/%Y %H:%M:%S'`.
        for (seconds, text) in [
            (0, "01/01/1970 00:00:00"),
            (951_782_399, "28/02/2000 23:59:59"),
            (951_782_400, "29/02/2000 00:00:00"),
            (951_868_800, "01/03/2000 00:00:00"),
            (1_700_000_000, "14/11/2023 22:13:20"),
            (1_735_689_599, "31/12/2024 23:59:59"),
            (4_107_542_399, "28/02/2100 23:59:59"),
            (4_107_542_400, "01/03/2100 00:00:00"),
            (LAST, "31/12/9999 23:59:59"),
        ] {
            assert_eq!(created_on(seconds).unwrap(), text);
        }
        assert!(created_on(-1).is_err() && created_on(LAST + 1).is_err());
    }

    #[test]
    fn no_day_is_left_out_or_given_twice() {
        let mut before = date(0);
        for day in 1..200_000 {
            let now = date(day);
            let next_day = now == (before.0, before.1, before.2 + 1);
            let next_month = now == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = now == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{before:?} {now:?}");
            before = now;
        }
    }
}
