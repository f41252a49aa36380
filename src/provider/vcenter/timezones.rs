//! Time zones as the setup of Windows counts them.
//!
//! It takes a number and no name: Microsoft's table "Time Zone Index Values", which the
//! interface refers to (`CustomizationGuiUnattended.timeZone`). A zone of the IANA database
//! is given the entry whose clock it shares; one that shares none is not here, so that no
//! guest gets a clock that is wrong for half of the year.

/// The number of a zone by its IANA name.
pub(super) fn index_of(zone: &str) -> Option<i64> {
    ZONES.iter().find(|(_, names)| names.contains(&zone)).map(|(index, _)| *index)
}

/// Greenwich time, which has no summer time: the clock of UTC.
pub(super) const UTC: i64 = 90;

const ZONES: [(i64, &[&str]); 52] = [
    (2, &["Pacific/Honolulu"]),
    (3, &["America/Anchorage", "America/Juneau"]),
    (4, &["America/Los_Angeles", "America/Vancouver", "America/Tijuana"]),
    (10, &["America/Denver", "America/Boise", "America/Edmonton"]),
    (15, &["America/Phoenix"]),
    (20, &["America/Chicago", "America/Winnipeg", "America/Menominee"]),
    (25, &["America/Regina"]),
    (33, &["America/Guatemala", "America/Costa_Rica", "America/El_Salvador", "America/Managua"]),
    (
        35,
        &[
            "America/New_York",
            "America/Toronto",
            "America/Detroit",
            "America/Montreal",
            "America/Indiana/Indianapolis",
        ],
    ),
    (45, &["America/Bogota", "America/Lima", "America/Guayaquil", "America/Panama"]),
    (50, &["America/Halifax", "Atlantic/Bermuda"]),
    (55, &["America/La_Paz", "America/Puerto_Rico", "America/Santo_Domingo", "America/Manaus"]),
    (60, &["America/St_Johns"]),
    (70, &["America/Cayenne", "America/Fortaleza"]),
    (83, &["Atlantic/Cape_Verde"]),
    (80, &["Atlantic/Azores"]),
    (85, &["Europe/London", "Europe/Dublin", "Europe/Lisbon", "Atlantic/Canary"]),
    (
        90,
        &[
            "UTC",
            "Etc/UTC",
            "Etc/GMT",
            "GMT",
            "Africa/Abidjan",
            "Africa/Accra",
            "Africa/Dakar",
            "Africa/Monrovia",
            "Atlantic/Reykjavik",
        ],
    ),
    (
        95,
        &[
            "Europe/Prague",
            "Europe/Belgrade",
            "Europe/Bratislava",
            "Europe/Budapest",
            "Europe/Ljubljana",
        ],
    ),
    (100, &["Europe/Warsaw", "Europe/Sarajevo", "Europe/Skopje", "Europe/Zagreb"]),
    (105, &["Europe/Paris", "Europe/Brussels", "Europe/Copenhagen", "Europe/Madrid"]),
    (
        110,
        &[
            "Europe/Berlin",
            "Europe/Amsterdam",
            "Europe/Luxembourg",
            "Europe/Monaco",
            "Europe/Oslo",
            "Europe/Rome",
            "Europe/Stockholm",
            "Europe/Vienna",
            "Europe/Zurich",
            "Europe/Vaduz",
            "Europe/Malta",
        ],
    ),
    (113, &["Africa/Lagos", "Africa/Algiers", "Africa/Tunis", "Africa/Kinshasa"]),
    (115, &["Europe/Bucharest"]),
    (
        125,
        &[
            "Europe/Helsinki",
            "Europe/Kiev",
            "Europe/Kyiv",
            "Europe/Riga",
            "Europe/Sofia",
            "Europe/Tallinn",
            "Europe/Vilnius",
        ],
    ),
    (130, &["Europe/Athens"]),
    (135, &["Asia/Jerusalem"]),
    (140, &["Africa/Johannesburg", "Africa/Harare", "Africa/Maputo", "Africa/Lusaka"]),
    (145, &["Europe/Moscow"]),
    (150, &["Asia/Riyadh", "Asia/Kuwait", "Asia/Qatar", "Asia/Bahrain"]),
    (155, &["Africa/Nairobi", "Africa/Addis_Ababa", "Africa/Kampala"]),
    (158, &["Asia/Baghdad"]),
    (165, &["Asia/Dubai", "Asia/Muscat"]),
    (170, &["Asia/Yerevan", "Asia/Tbilisi", "Asia/Baku"]),
    (175, &["Asia/Kabul"]),
    (180, &["Asia/Yekaterinburg"]),
    (185, &["Asia/Karachi", "Asia/Tashkent"]),
    (190, &["Asia/Kolkata", "Asia/Calcutta"]),
    (193, &["Asia/Kathmandu"]),
    (195, &["Asia/Dhaka"]),
    (200, &["Asia/Colombo"]),
    (203, &["Asia/Yangon"]),
    (205, &["Asia/Bangkok", "Asia/Ho_Chi_Minh", "Asia/Jakarta"]),
    (210, &["Asia/Shanghai", "Asia/Hong_Kong", "Asia/Macau"]),
    (215, &["Asia/Singapore", "Asia/Kuala_Lumpur", "Asia/Manila"]),
    (220, &["Asia/Taipei"]),
    (225, &["Australia/Perth"]),
    (230, &["Asia/Seoul"]),
    (235, &["Asia/Tokyo"]),
    (255, &["Australia/Sydney", "Australia/Melbourne"]),
    (260, &["Australia/Brisbane"]),
    (290, &["Pacific/Auckland"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_zone_has_one_number() {
        let names: Vec<&str> = ZONES.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(index_of("Europe/Paris"), Some(105));
        assert_eq!(index_of("UTC"), Some(UTC));
        assert_eq!(index_of("Europe/Minsk"), None, "it has left the clock of its entry");
    }

    #[test]
    fn every_name_is_one_of_the_database() {
        for name in ZONES.iter().flat_map(|(_, names)| names.iter()) {
            assert!(jiff::tz::TimeZone::get(name).is_ok(), "{name}");
        }
    }
}
