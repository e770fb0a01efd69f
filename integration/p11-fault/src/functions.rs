//! Functions on sessions and objects.

use cryptoki_sys::*;

use crate::fault::{Action, Change};
use crate::state::{State, is_removed, leave, real};

/// Makes functions that are forwarded as they are, but for what is the same for every function.
macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $type:ty),*);)*) => {
        $(unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            around(stringify!($name), |_| real!($name($($argument),*)))
        })*
        /// Puts the functions of this room into the list.
        pub(crate) fn install(list: &mut CK_FUNCTION_LIST) {
            $(list.$name = Some($name);)*
            list.C_CloseSession = Some(C_CloseSession);
            list.C_GetAttributeValue = Some(C_GetAttributeValue);
            list.C_SignInit = Some(C_SignInit);
            list.C_Sign = Some(C_Sign);
        }
    };
}

forward! {
    fn C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, len: CK_ULONG);
    fn C_Logout(session: CK_SESSION_HANDLE);
    fn C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO);
    fn C_CreateObject(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG, object: *mut CK_OBJECT_HANDLE);
    fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE);
    fn C_SetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    fn C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG);
    fn C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, found: *mut CK_ULONG);
    fn C_FindObjectsFinal(session: CK_SESSION_HANDLE);
    fn C_GenerateKeyPair(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public: *mut CK_ATTRIBUTE, public_count: CK_ULONG,
        private: *mut CK_ATTRIBUTE, private_count: CK_ULONG, public_key: *mut CK_OBJECT_HANDLE,
        private_key: *mut CK_OBJECT_HANDLE
    );
    fn C_GenerateRandom(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, len: CK_ULONG);
}

/// What every function on a session does around the real call.
fn around(function: &'static str, call: impl FnOnce(&[Action]) -> CK_RV) -> CK_RV {
    let (state, actions) = match State::get().and_then(|state| Ok((state, state.enter(function)?))) {
        Ok(entered) => entered,
        Err(rv) => return rv,
    };
    let _call = state.among_others();
    if is_removed(&actions) {
        return CKR_DEVICE_REMOVED;
    }
    leave(&actions, call(&actions))
}

unsafe extern "C" fn C_CloseSession(session: CK_SESSION_HANDLE) -> CK_RV {
    around("C_CloseSession", |_| {
        let rv = real!(C_CloseSession(session));
        if let (CKR_OK, Ok(state)) = (rv, State::get()) {
            state.closed(|closed, _| closed == session);
        }
        rv
    })
}

unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    around("C_GetAttributeValue", |actions| {
        if template.is_null() {
            return real!(C_GetAttributeValue(session, object, template, count));
        }
        // SAFETY: the application passed `count` attributes.
        let attributes = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
        // What we answer ourselves the real module is not asked: the application's place has our length.
        let mut asked: Vec<CK_ATTRIBUTE> =
            attributes.iter().copied().filter(|a| replacement(actions, a.type_).is_none()).collect();
        let rv = real!(C_GetAttributeValue(session, object, asked.as_mut_ptr(), asked.len() as CK_ULONG));
        let mut answers = asked.into_iter();
        for attribute in attributes {
            match replacement(actions, attribute.type_) {
                Some(value) => replace(attribute, value),
                None => *attribute = answers.next().unwrap_or(*attribute),
            }
            if rv == CKR_OK && actions.contains(&Action::RawPoint) {
                unwrap_point(attribute);
            }
        }
        rv
    })
}

fn replacement(actions: &[Action], kind: CK_ATTRIBUTE_TYPE) -> Option<&[u8]> {
    actions.iter().find_map(|action| match action {
        Action::Attribute(replaced, value) if *replaced == kind => Some(value.as_slice()),
        _ => None,
    })
}

/// Takes the header of the OCTET STRING off.
fn unwrap_point(attribute: &mut CK_ATTRIBUTE) {
    if attribute.type_ != CKA_EC_POINT || attribute.pValue.is_null() {
        return;
    }
    let len = attribute.ulValueLen as usize;
    // SAFETY: the real module has just written `len` bytes there.
    let value = unsafe { std::slice::from_raw_parts_mut(attribute.pValue.cast::<u8>(), len) };
    let header = match value {
        [0x04, 0x81, ..] => 3,
        [0x04, rest, ..] if *rest as usize == len - 2 => 2,
        _ => return,
    };
    value.copy_within(header.., 0);
    attribute.ulValueLen = (len - header) as CK_ULONG;
}

fn replace(attribute: &mut CK_ATTRIBUTE, value: &[u8]) {
    if !attribute.pValue.is_null() && attribute.ulValueLen as usize >= value.len() {
        // SAFETY: the application's place is as large as the real value, and ours is no longer.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), attribute.pValue.cast::<u8>(), value.len()) };
    }
    attribute.ulValueLen = value.len() as CK_ULONG;
}

unsafe extern "C" fn C_SignInit(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    around("C_SignInit", |actions| {
        let mut key = key;
        for action in actions {
            match action {
                // SAFETY: the application passed a mechanism.
                Action::Hide(hidden)
                    if !mechanism.is_null() && hidden.contains(unsafe { &(*mechanism).mechanism }) =>
                {
                    return CKR_MECHANISM_INVALID;
                }
                Action::Key(label) => match private_key(session, label) {
                    Some(other) => key = other,
                    None => return CKR_VENDOR_DEFINED | 0xBAD,
                },
                _ => {}
            }
        }
        real!(C_SignInit(session, mechanism, key))
    })
}

fn private_key(session: CK_SESSION_HANDLE, label: &str) -> Option<CK_OBJECT_HANDLE> {
    let mut class = CKO_PRIVATE_KEY;
    let mut template = [
        CK_ATTRIBUTE {
            type_: CKA_CLASS,
            pValue: (&raw mut class).cast(),
            ulValueLen: size_of::<CK_OBJECT_CLASS>() as CK_ULONG,
        },
        CK_ATTRIBUTE {
            type_: CKA_LABEL,
            pValue: label.as_ptr().cast_mut().cast(),
            ulValueLen: label.len() as CK_ULONG,
        },
    ];
    let (mut object, mut found) = (0, 0);
    let started = real!(C_FindObjectsInit(session, template.as_mut_ptr(), 2));
    let read = real!(C_FindObjects(session, &raw mut object, 1, &raw mut found));
    let ended = real!(C_FindObjectsFinal(session));
    ([started, read, ended] == [CKR_OK; 3] && found == 1).then_some(object)
}

unsafe extern "C" fn C_Sign(
    session: CK_SESSION_HANDLE,
    data: *mut CK_BYTE,
    data_len: CK_ULONG,
    signature: *mut CK_BYTE,
    len: *mut CK_ULONG,
) -> CK_RV {
    let name = if signature.is_null() { "C_Sign(length)" } else { "C_Sign" };
    around(name, |actions| {
        // SAFETY: the application says how large its place is.
        let room = if len.is_null() { 0 } else { unsafe { *len } } as usize;
        let rv = real!(C_Sign(session, data, data_len, signature, len));
        if rv != CKR_OK || signature.is_null() {
            return rv;
        }
        for action in actions {
            if let Action::Signature(change) = action {
                // SAFETY: the real module has written `*len` bytes into a place of `room`.
                unsafe {
                    let made = std::slice::from_raw_parts(signature, *len as usize);
                    let changed = changed(made, *change);
                    let kept = changed.len().min(room);
                    std::ptr::copy_nonoverlapping(changed.as_ptr(), signature, kept);
                    *len = kept as CK_ULONG;
                }
            }
        }
        rv
    })
}

fn changed(made: &[u8], change: Change) -> Vec<u8> {
    let mut signature = made.to_vec();
    match change {
        Change::Flip(bit) => signature[bit / 8] ^= 1 << (bit % 8),
        Change::Truncate(count) => signature.truncate(made.len().saturating_sub(count)),
        Change::Extend(count) => signature.extend(std::iter::repeat_n(0, count)),
        Change::Der => {
            let (r, s) = made.split_at(made.len() / 2);
            let content = [integer(r), integer(s)].concat();
            signature = tagged(0x30, &content);
        }
    }
    signature
}

fn integer(number: &[u8]) -> Vec<u8> {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
    let mut value = number[start..].to_vec();
    if value[0] >= 0x80 {
        value.insert(0, 0);
    }
    tagged(0x02, &value)
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len() as u8;
    let header = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
    [header, content.to_vec()].concat()
}
